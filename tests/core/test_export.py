"""Bundles against what shares no code with them: the safetensors library, hashlib, a clean interpreter, hand sums."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from core import bundle_loader
from core.compression.apply import apply
from core.compression.fitting import StepGain
from core.compression.plans import LayerPlan, Plan, Repair
from core.compression.surveying import survey_model
from core.errors import CheckpointError, InputError, PlanError, RankscopeError
from core.export import BundleFile, Facts, read_bundle, write_bundle, zip_bundle
from core.networks.arch import ModelRef, parse_arch
from core.networks.checkpoints import Opened
from core.networks.forms import Filters, LowRank, LowRankSparse, RandomSparse, SemiSparse, Sparse, SpatialLowRank
from core.networks.state_dicts import digest_of
from core.networks.user_code import from_module
from core.networks.zoo import build

FILES = {"model.safetensors", "plan.json", "report.html", "load_model.py", "architecture.py", "check.safetensors"}
PLAIN = Repair(steps=())
ZOO = {
    "mlp:36-20-16-10": [("fc1", LowRank(3)), ("fc2", Sparse(40))],
    "convnet:1-6-8-10": [("conv2", SpatialLowRank(4)), ("fc", LowRank(2))],
    "convnet:1-6-8-12-10": [("conv2", LowRankSparse(3, 60)), ("conv3", RandomSparse(200, 3))],
    "resnet8:channels=1,width=4": [("layer2.0.conv1", LowRank(3)), ("layer3.0.conv2", LowRank(5, True))],
    "resnet18:channels=1,width=4,size=8": [
        ("layer4.1.conv2", SpatialLowRank(6)),
        ("layer2.0.downsample.0", LowRank(2)),
    ],
    "autoencoder:36-12-4": [("encoder.0", LowRankSparse(4, 50)), ("decoder.2", Filters(9))],
    "transformer:dim=16,depth=1,hidden=24": [("blocks.0.attn.qkv", LowRank(5)), ("blocks.0.mlp.fc1", SemiSparse())],
}


def made(text: str, forms: list[tuple[str, object]]) -> tuple[Opened, Plan, nn.Module]:
    """A built-in network with random weights, a plan for it and the plan applied."""
    arch = parse_arch(text)
    network = build(arch).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    state = network.state_dict()
    opened = Opened(ModelRef("file", f"{arch.name}.pt", digest_of(state)[0]), state, arch, network, ())
    plan = Plan(opened.ref, tuple(LayerPlan(name, form) for name, form in forms), PLAIN)
    return opened, plan, apply(plan, network)


def export(folder: Path, text: str = "mlp:36-20-16-10", facts: Facts | None = None) -> tuple[Opened, Plan, nn.Module]:
    """A bundle of a built-in network in `folder`."""
    opened, plan, new = made(text, ZOO[text])
    write_bundle(folder, opened, plan, new, survey_model(opened), torch.randn(3, *opened.arch.input_shape), facts)
    return opened, plan, new


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A clean interpreter: isolated, away from the repository, one thread."""
    return subprocess.run([sys.executable, "-I", *words], cwd=cwd, capture_output=True, text=True, timeout=120)


def sealed(folder: Path, change) -> None:
    """Changes plan.json by `change(content)` and makes every digest in it true again: what a forger would do."""
    content = json.loads((folder / "plan.json").read_text())
    change(content)
    for name, entry in content["bundle"].get("files", {}).items():
        if (folder / name).is_file():
            entry["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    content["bundle"]["digest"] = bundle_loader.digest(content)
    (folder / "plan.json").write_text(json.dumps(content))


class Own(nn.Module):
    """A network that is not built in: strided, dilated, circular convolutions, 1-d ones, a tied weight, a buffer that
    is not stored."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 6, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 1), padding_mode="circular")
        self.b = nn.Conv2d(6, 8, 3, padding="same", dilation=2)
        self.c = nn.Conv1d(8, 8, 3, padding=1, bias=False)
        self.embed = nn.Linear(8, 8, bias=False)
        self.head = nn.Linear(8, 8)
        self.head.weight = self.embed.weight
        self.out = nn.Linear(8, 5)
        self.register_buffer("scale", torch.tensor([2.0]), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.b(F.relu(self.a(x)))).mean(3)
        x = self.c(x).mean(2) * self.scale
        return self.out(F.relu(self.head(self.embed(x))))


OWN_FORMS = [("a", SpatialLowRank(4)), ("b", SpatialLowRank(5)), ("c", LowRank(3, True)), ("out", LowRank(2))]


def own(folder: Path, forms: list[tuple[str, object]] = OWN_FORMS) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """A bundle of `Own`: the dense network, the compressed one, the example."""
    network = Own().eval()
    opened = from_module(network, "net.py:make")
    x = torch.randn(4, 2, 8, 6)
    plan = Plan(opened.ref, tuple(LayerPlan(name, form) for name, form in forms), PLAIN)
    new = apply(plan, network)
    write_bundle(folder, opened, plan, new, survey_model(opened), x)
    return network, new, x


# What is written


def test_every_file_is_there_with_the_size_and_digest_that_is_reported(tmp_path):
    opened, plan, new = made("mlp:36-20-16-10", ZOO["mlp:36-20-16-10"])
    check = write_bundle(tmp_path / "b", opened, plan, new, survey_model(opened), torch.randn(3, 1, 6, 6))
    assert {path.name for path in (tmp_path / "b").iterdir()} == FILES
    for file in check.files:
        content = (tmp_path / "b" / file.name).read_bytes()
        assert file == BundleFile(file.name, len(content), hashlib.sha256(content).hexdigest())
    assert {file.name for file in check.files} == FILES
    assert (check.ok, check.max_difference, check.outputs) == (True, 0.0, 30)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_the_safetensors_library_reads_the_weights_of_the_compressed_network(tmp_path):
    _, plan, new = export(tmp_path / "b")
    stored, wanted = load_file(tmp_path / "b" / "model.safetensors"), new.state_dict()
    assert stored.keys() == wanted.keys() and {"fc1.first.weight", "fc1.second.weight"} <= stored.keys()
    assert all(torch.equal(stored[name], wanted[name]) for name in wanted)
    with safe_open(tmp_path / "b" / "model.safetensors", "pt") as file:
        text = json.loads(file.metadata()["rankscope"])
    assert Plan.from_json(json.dumps(text["plan"])) == plan
    assert any(version.startswith("torch ") for version in text["versions"])


def test_outputs_by_hand_from_the_stored_factors(tmp_path):
    export(tmp_path / "b")
    W = load_file(tmp_path / "b" / "model.safetensors")
    check = load_file(tmp_path / "b" / "check.safetensors")
    x = check["input"].flatten(1).double()
    W = {name: tensor.double() for name, tensor in W.items()}
    x = torch.relu(x @ W["fc1.first.weight"].T @ W["fc1.second.weight"].T + W["fc1.second.bias"])
    x = torch.relu(x @ W["fc2.weight"].T + W["fc2.bias"])
    x = x @ W["fc3.weight"].T + W["fc3.bias"]
    assert (x - check["output"].double()).abs().max() < 1e-6
    assert int((W["fc2.weight"] != 0).sum()) == 40


def test_plan_json_is_the_plan_and_says_how_to_feed_the_network(tmp_path):
    gains = (StepGain("plain", float("inf"), True, 0.1),)
    opened, plan, _ = export(tmp_path / "b", facts=Facts(gains=gains))
    text = (tmp_path / "b" / "plan.json").read_text()
    assert Plan.from_json(text) == plan
    bundle = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))["bundle"]
    assert bundle["input"] == {"shape": [1, 6, 6], "dtype": "float32", "mean": [0.0], "std": [1.0]}
    assert bundle["measured"]["gains"] == [{"step": "plain", "distance": None, "kept": True, "seconds": 0.1}]
    assert bundle["arch"] == json.loads(opened.arch.to_json())


def test_nothing_given_is_touched(tmp_path):
    opened, plan, new = made("convnet:1-6-8-10", ZOO["convnet:1-6-8-10"])
    before = [copy.deepcopy(m.state_dict()) for m in (opened.module, new)]
    new.train()
    write_bundle(tmp_path / "b", opened, plan, new, survey_model(opened), torch.randn(2, 1, 8, 8))
    after = [m.state_dict() for m in (opened.module, new)]
    assert new.training and all(torch.equal(a[k], b[k]) for a, b in zip(before, after, strict=True) for k in a)


def test_equal_networks_give_equal_weight_files(tmp_path):
    opened, plan, new = made("mlp:36-20-16-10", ZOO["mlp:36-20-16-10"])
    x, survey = torch.randn(3, 1, 6, 6), survey_model(opened)
    checks = [write_bundle(tmp_path / name, opened, plan, new, survey, x) for name in ("a", "b")]
    same = [{f.name: f.sha256 for f in check.files if f.name not in ("plan.json", "report.html")} for check in checks]
    assert same[0] == same[1]


# Reading back


@pytest.mark.parametrize("text", ZOO)
def test_reading_back_gives_the_same_outputs(tmp_path, text):
    opened, plan, new = export(tmp_path / "b", text)
    bundle = read_bundle(tmp_path / "b")
    x = torch.randn(5, *opened.arch.input_shape)
    with torch.no_grad():
        assert torch.equal(bundle.module(x), new(x))
    assert (bundle.plan, bundle.arch, bundle.check.ok) == (plan, opened.arch, True)
    assert not bundle.module.training and not any(p.is_meta for p in bundle.module.parameters())


def test_a_clean_interpreter_reproduces_the_outputs(tmp_path):
    export(tmp_path / "b", "resnet8:channels=1,width=4")
    (tmp_path / "elsewhere").mkdir()
    done = run(str(tmp_path / "b" / "load_model.py"), cwd=tmp_path / "elsewhere")
    assert done.returncode == 0 and "as exported" in done.stdout and "NOT" not in done.stdout, done.stdout + done.stderr
    assert {path.name for path in (tmp_path / "b").iterdir()} == FILES


def test_every_built_in_network_loads_with_torch_alone(tmp_path):
    for i, text in enumerate(ZOO):
        export(tmp_path / str(i), text)
    script = f"""
import importlib.util, sys, torch
torch.set_num_threads(1)
assert importlib.util.find_spec("core") is None
sys.modules["safetensors"] = None
for i in range({len(ZOO)}):
    spec = importlib.util.spec_from_file_location(f"loader{{i}}", f"{{i}}/load_model.py")
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    difference, largest, count = loader.self_check(loader.load())
    assert count and 0 < largest and difference <= 1e-6 * largest, (i, difference, largest)
print("all")
"""
    done = run("-c", script, cwd=tmp_path)
    assert done.stdout == "all\n", done.stderr


def test_the_files_of_a_bundle_import_nothing_but_torch_and_the_standard_library(tmp_path):
    for i, text in enumerate(ZOO):
        export(tmp_path / str(i), text)
        for name in ("load_model.py", "architecture.py"):
            tree = ast.parse((tmp_path / str(i) / name).read_text())
            found = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
            found |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            assert {f.partition(".")[0] for f in found} <= {"torch", *sys.stdlib_module_names}, (text, name)


def test_a_network_of_ones_own_has_its_layers_exchanged_in_a_copy(tmp_path):
    dense, new, x = own(tmp_path / "b")
    before = copy.deepcopy(dense.state_dict())
    for load in (lambda: bundle_loader.load(tmp_path / "b", dense), lambda: read_bundle(tmp_path / "b", dense).module):
        loaded = load()
        with torch.no_grad():
            assert torch.equal(loaded(x), new(x)) and not torch.equal(loaded(x), dense(x))
        assert loaded.head.weight is loaded.embed.weight
    assert isinstance(dense.a, nn.Conv2d) and all(torch.equal(v, before[k]) for k, v in dense.state_dict().items())


def test_a_tied_weight_is_stored_once_and_noted(tmp_path):
    own(tmp_path / "b")
    stored = load_file(tmp_path / "b" / "model.safetensors")
    assert "embed.weight" in stored and "head.weight" not in stored
    assert read_bundle(tmp_path / "b", Own()).notes == (
        "head.weight is the same tensor as embed.weight and is stored once",
    )


def test_a_layer_that_is_used_twice_is_exchanged_twice_and_stored_once(tmp_path):
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 6)
            self.b, self.again = nn.Sequential(self.a, nn.ReLU()), self.a

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.again(self.b(x))

    dense, x = Twice().eval(), torch.randn(3, 6)
    opened = from_module(dense, "twice")
    plan = Plan(opened.ref, (LayerPlan("a", LowRank(2)),), PLAIN)
    new = apply(plan, dense)
    write_bundle(tmp_path / "b", opened, plan, new, survey_model(opened), x)
    loaded: Any = bundle_loader.load(tmp_path / "b", dense)
    with torch.no_grad():
        a = new.a.second(new.a.first(x))
        assert torch.equal(loaded(x), new.a.second(new.a.first(torch.relu(a))))
    assert loaded.a is loaded.again is loaded.b[0]
    stored = load_file(tmp_path / "b" / "model.safetensors")
    assert set(stored) == {"a.first.weight", "a.second.weight", "a.second.bias"}


def test_a_network_of_ones_own_needs_that_network(tmp_path):
    own(tmp_path / "b")
    with pytest.raises(CheckpointError, match="a network of your own; give that"):
        read_bundle(tmp_path / "b")
    with pytest.raises(ValueError, match="give your own dense network"):
        bundle_loader.load(tmp_path / "b")
    with pytest.raises(CheckpointError, match="no layer 'a'; it is not the one this plan was made for"):
        read_bundle(tmp_path / "b", nn.Linear(3, 3))
    other = Own()
    other.out = nn.Linear(8, 6)
    other.embed = nn.Linear(8, 9, bias=False)
    with pytest.raises(CheckpointError, match=r"'embed.weight' is \(8, 8\), wanted \(9, 8\)"):
        read_bundle(tmp_path / "b", other)


def test_tensors_that_are_not_contiguous_are_stored_in_order(tmp_path):
    opened, plan, new = made("mlp:36-20-16-10", [("fc1", LowRank(3))])
    wanted = new.fc2.weight.detach().clone()
    new.fc2.weight = nn.Parameter(wanted.T.contiguous().T)
    assert not new.fc2.weight.is_contiguous()
    write_bundle(tmp_path / "b", opened, plan, new, survey_model(opened), torch.randn(3, 1, 6, 6))
    assert torch.equal(load_file(tmp_path / "b" / "model.safetensors")["fc2.weight"], wanted)


@pytest.mark.parametrize("dtype", list(bundle_loader.DTYPES.values()), ids=str)
def test_the_loader_reads_each_type_as_the_safetensors_library_does(tmp_path, dtype):
    values = torch.tensor([[0.0, 1.0, -2.0], [3.0, 0.5, 1.0]])
    values = values.abs() if dtype in (torch.uint8, torch.bool) else values
    tensors = {"a/ü": values.to(dtype), "none": torch.zeros(0, 3).to(dtype), "one": torch.ones(()).to(dtype)}
    save_file(tensors, tmp_path / "t.safetensors", {"note": "x"})
    found, wanted = bundle_loader.read_tensors(tmp_path / "t.safetensors"), load_file(tmp_path / "t.safetensors")
    assert found.keys() == wanted.keys() == tensors.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == dtype and found[name].shape == tensor.shape
        assert torch.equal(found[name].to(torch.complex64), tensor.to(torch.complex64))


# Damage and forgery


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**60]}},
        {"a": {"dtype": "F32", "shape": [2**58], "data_offsets": [0, 2**60]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
    ],
)
def test_a_header_that_claims_what_is_not_there_reads_nothing(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "t.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ValueError, match=r"t\.safetensors is damaged at 'a'"):
        bundle_loader.read_tensors(tmp_path / "t.safetensors")
    (tmp_path / "t.safetensors").write_bytes((2**62).to_bytes(8, "little") + text)
    with pytest.raises(ValueError, match="cut short"):
        bundle_loader.read_tensors(tmp_path / "t.safetensors")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_byte_anywhere_is_found(tmp_path, name):
    export(tmp_path / "b")
    path = tmp_path / "b" / name
    content = bytearray(path.read_bytes())
    at = content.index(b"20") if name == "plan.json" else len(content) // 2
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"b cannot be read back: {name} was changed"):
        read_bundle(tmp_path / "b")
    with pytest.raises(CheckpointError):
        zip_bundle(tmp_path / "b")


def test_a_missing_file_is_named(tmp_path):
    export(tmp_path / "b")
    (tmp_path / "b" / "report.html").unlink()
    with pytest.raises(CheckpointError, match=r"report\.html is missing"):
        read_bundle(tmp_path / "b")


def test_the_loader_refuses_changed_weights_too(tmp_path):
    export(tmp_path / "b")
    path = tmp_path / "b" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    done = run("load_model.py", cwd=tmp_path / "b")
    assert done.returncode == 2 and "model.safetensors was changed" in done.stdout


def test_other_weights_with_true_digests_fail_the_self_check(tmp_path):
    export(tmp_path / "b")
    tensors = load_file(tmp_path / "b" / "model.safetensors")
    tensors["fc3.bias"] += 0.01
    save_file(tensors, tmp_path / "b" / "model.safetensors")
    sealed(tmp_path / "b", lambda content: None)
    check = read_bundle(tmp_path / "b").check
    assert not check.ok and check.max_difference == pytest.approx(0.01, rel=1e-3)


def test_code_in_a_folder_is_never_run(tmp_path):
    _, _, new = export(tmp_path / "b")
    trap = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    for name in ("load_model.py", "architecture.py"):
        (tmp_path / "b" / name).write_text(trap)
    sealed(tmp_path / "b", lambda content: None)
    bundle = read_bundle(tmp_path / "b")
    x = torch.randn(2, 1, 6, 6)
    with torch.no_grad():
        assert torch.equal(bundle.module(x), new(x))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(KeyError):  # and the trap does spring where code is meant to run
        bundle_loader.load(tmp_path / "b")
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["layers"][0]["parts"][0].update(kind="system"),
        lambda c: c["layers"][0]["parts"][0]["options"].update(in_features=10**15),
        lambda c: c["layers"][0]["parts"][0]["options"].update(out_features=10**30),
        lambda c: c["layers"][0]["parts"][0]["options"].update(device="cuda"),
        lambda c: c["layers"][0].update(parts=7),
        lambda c: c["layers"][0].update(layer="fc9"),
        lambda c: c["layers"][0].update(rank=-1),
        lambda c: c["layers"].append({"layer": "fc1", "family": "lowrank", "rank": 1, "parts": []}),
        lambda c: c["bundle"].update(arch={"name": "mlp"}),
        lambda c: c["bundle"].update(arch=None),
        lambda c: c["bundle"].update(shared={"fc1.first.weight": "nothing"}),
        lambda c: c["bundle"].update(schema=2),
        lambda c: c["bundle"]["files"].update({"../secret": {"bytes": 1, "sha256": "0"}}),
        lambda c: c["bundle"].pop("files"),
        lambda c: c.update(layers=None),
    ],
)
def test_a_forged_plan_gives_one_sentence(tmp_path, change):
    export(tmp_path / "b")
    sealed(tmp_path / "b", change)
    with pytest.raises(InputError) as caught:
        read_bundle(tmp_path / "b")
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and str(tmp_path) not in text and ";" in text


def test_a_layer_of_a_kind_that_is_not_listed_is_named(tmp_path):
    export(tmp_path / "b")
    sealed(tmp_path / "b", lambda c: c["layers"][0]["parts"][0].update(kind="LSTM"))
    with pytest.raises(CheckpointError, match="Layer 'fc1' asks for 'LSTM', which is none of Linear, Conv1d, Conv2d"):
        read_bundle(tmp_path / "b")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"bundle": 3}', "[" * 5000, "\x00"])
def test_a_plan_json_that_is_none_gives_one_sentence(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    for read in (read_bundle, zip_bundle):
        with pytest.raises(CheckpointError, match="export it again"):
            read(tmp_path)


def test_a_folder_that_is_no_bundle_says_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere is not an exported folder: it has no plan\.json"):
        read_bundle(tmp_path / "nowhere")


# Where it is written


@pytest.mark.parametrize("taken", [{"notes.txt": "mine"}, {"plan.json": '{"schema": 1}'}, {"model.safetensors": "w"}])
def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path, taken):
    for name, text in taken.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="holds other files"):
        export(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == taken


def test_a_bundle_with_a_file_of_ones_own_beside_it_is_left_alone(tmp_path):
    export(tmp_path / "b")
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        export(tmp_path / "b")
    assert (tmp_path / "b" / "notes.txt").read_text() == "mine"


def test_an_earlier_bundle_and_an_empty_folder_are_replaced(tmp_path):
    (tmp_path / "b").mkdir()
    export(tmp_path / "b")
    _, plan, _ = export(tmp_path / "b", "convnet:1-6-8-10")
    assert read_bundle(tmp_path / "b").plan == plan
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_file_in_the_way_and_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(InputError, match="f is a file; choose a folder"):
        export(tmp_path / "f")
    with pytest.raises(InputError, match="cannot be written"):
        export(tmp_path / "f" / "b")
    assert (tmp_path / "f").read_text() == "x"


def test_a_failed_export_leaves_an_earlier_bundle_as_it_was(tmp_path):
    opened, plan, _ = export(tmp_path / "b")
    before = {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    wrong = apply(plan.with_form("fc3", LowRank(2)), opened.module)  # not what the plan says
    with pytest.raises(RankscopeError, match="could not be read back, so nothing was written"):
        write_bundle(tmp_path / "b", opened, plan, wrong, survey_model(opened), torch.randn(2, 1, 6, 6))
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_export_that_reads_back_otherwise_fails(tmp_path, monkeypatch):
    opened, plan, new = made("mlp:36-20-16-10", ZOO["mlp:36-20-16-10"])
    fill = bundle_loader._fill

    def off_by_little(network, tensors, shared):
        tensors["fc3.bias"] = tensors["fc3.bias"] + 1e-4
        fill(network, tensors, shared)

    monkeypatch.setattr(bundle_loader, "_fill", off_by_little)
    with pytest.raises(RankscopeError, match="differs from the one in hand by"):
        write_bundle(tmp_path / "b", opened, plan, new, survey_model(opened), torch.randn(2, 1, 6, 6))
    assert not list(tmp_path.iterdir())


def test_the_proof_takes_no_value_from_the_network_in_hand(tmp_path, monkeypatch):
    seen = []
    load = bundle_loader.load
    monkeypatch.setattr(bundle_loader, "load", lambda folder, model: seen.append(model) or load(folder, model))
    own(tmp_path / "own")
    export(tmp_path / "built-in")
    assert all(bool(p.isnan().all()) for p in seen[0].parameters())
    assert all(p.is_meta for p in seen[1].parameters())


def test_what_cannot_be_exported_says_why(tmp_path):
    opened, plan, new = made("mlp:36-20-16-10", ZOO["mlp:36-20-16-10"])
    survey, x = survey_model(opened), torch.randn(2, 1, 6, 6)
    other = Plan(ModelRef("file", "other.pt", "0" * 64), plan.layers, PLAIN)
    with pytest.raises(PlanError, match=r"other weights of 'other\.pt'"):
        write_bundle(tmp_path / "b", opened, other, new, survey, x)
    bad = copy.deepcopy(new)
    bad.fc3.bias.data[0] = float("nan")
    with pytest.raises(InputError, match="no finite outputs"):
        write_bundle(tmp_path / "b", opened, plan, bad, survey, x)

    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(InputError, match="gives tuple rather than one tensor"):
        write_bundle(tmp_path / "b", opened, Plan(opened.ref), Pair(), survey, x)
    assert not list(tmp_path.iterdir())


def test_a_plan_that_changes_nothing_is_exported_too(tmp_path):
    opened, _, _ = made("mlp:36-20-16-10", [])
    write_bundle(tmp_path / "b", opened, Plan(opened.ref), opened.module, survey_model(opened), torch.randn(2, 1, 6, 6))
    assert read_bundle(tmp_path / "b").plan == Plan(opened.ref)


# Zip


def test_a_zip_holds_the_bundle_and_equal_bundles_give_equal_zips(tmp_path):
    export(tmp_path / "b")
    (tmp_path / "b" / "__pycache__").mkdir()
    first = zip_bundle(tmp_path / "b")
    assert first == tmp_path / "b.zip"
    for path in (tmp_path / "b").iterdir():
        os.utime(path, (10**9, 10**9))
    second = zip_bundle(tmp_path / "b", tmp_path / "again.zip")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(f"b/{name}" for name in FILES)
        archive.extractall(tmp_path / "out")
    assert read_bundle(tmp_path / "out" / "b").check.ok
    assert {path.name for path in tmp_path.iterdir()} == {"b", "b.zip", "again.zip", "out"}


def test_a_zip_that_cannot_be_written_says_so(tmp_path):
    export(tmp_path / "b")
    with pytest.raises(InputError, match=r"b\.zip cannot be written"):
        zip_bundle(tmp_path / "b", tmp_path / "nowhere" / "b.zip")


def test_importing_export_and_the_report_needs_no_torch():
    script = "import sys; import core.export, core.report; sys.exit('torch' in sys.modules)"
    repository = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=repository, timeout=60).returncode == 0
