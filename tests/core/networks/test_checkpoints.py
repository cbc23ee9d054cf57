"""What opens, how it is unwrapped, and what is said about it."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from core.errors import CheckpointError
from core.networks import checkpoints, tensor_files
from core.networks.arch import parse_arch
from core.networks.checkpoints import demo_info, demo_names, open_model
from core.networks.zoo import build
from tests import bad_files
from tests.bad_files import small_state


def same(opened: checkpoints.Opened, state: dict[str, Tensor]) -> bool:
    """Whether the opened state has exactly these names, types and bits."""
    return sorted(opened.state) == sorted(state) and all(
        opened.state[k].dtype == v.dtype and torch.equal(opened.state[k], v) for k, v in state.items()
    )


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.th", "w.bin", "old.th"])
def test_every_format_gives_the_same_tensors_and_digest(tmp_path: Path, name: str) -> None:
    state, path = small_state(), tmp_path / name
    if name.endswith(".safetensors"):
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=name != "old.th")
    opened = open_model(path)
    assert same(opened, state)
    assert opened.arch == parse_arch("mlp:6-5-3") and opened.reason == ""
    assert opened.notes == ("recognised as MLP 6-5-3 from names and shapes, taken to use ReLU",)
    assert (opened.ref.source, opened.ref.name) == ("file", name)
    x = torch.randn(4, 6)
    wanted = (x @ state["fc1.weight"].T + state["fc1.bias"]).clamp(min=0) @ state["fc2.weight"].T + state["fc2.bias"]
    assert opened.module is not None and not opened.module.training
    with torch.no_grad():
        torch.testing.assert_close(opened.module(x), wanted)


def test_the_digest_is_of_names_types_shapes_and_bytes() -> None:
    state = small_state()
    sha = hashlib.sha256()
    for name in sorted(state):
        sha.update(json.dumps([name, "float32", list(state[name].shape)]).encode())
        sha.update(state[name].numpy().tobytes())
    from core.networks.state_dicts import digest_of

    assert digest_of(state) == (sha.hexdigest(), [])
    assert digest_of(dict(reversed(state.items())))[0] == sha.hexdigest()
    others = [
        {**state, "fc1.bias": state["fc1.bias"] + 1e-7},
        {**state, "fc1.bias": state["fc1.bias"].double()},
        {**state, "fc1.bias": state["fc1.bias"].reshape(1, 5)},
        {("fc9" if name == "fc1.bias" else name): tensor for name, tensor in state.items()},
    ]
    assert len({sha.hexdigest(), *(digest_of(other)[0] for other in others)}) == 5


def test_transposed_tensors_have_the_digest_of_their_values() -> None:
    from core.networks.state_dicts import digest_of

    W = torch.arange(6.0).reshape(2, 3)
    assert digest_of({"W": W.T.contiguous().T}) == digest_of({"W": W})


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "ema", "state_dict_ema"])
def test_usual_nestings_are_unwrapped_and_said(tmp_path: Path, key: str) -> None:
    inner = OrderedDict(("module." + name, tensor) for name, tensor in small_state().items())
    torch.save({key: inner, "best_prec1": 91.0, "optimizer": {"state": {0: torch.ones(3)}}}, tmp_path / "w.pt")
    opened = open_model(tmp_path / "w.pt")
    assert same(opened, small_state())
    assert opened.notes[:3] == (
        f"unwrapped {key!r}",
        "ignored best_prec1, optimizer",
        "removed the prefix 'module.' from 4 names",
    )


def test_nestings_and_prefixes_pile_up(tmp_path: Path) -> None:
    inner = {"_orig_mod.module." + name: tensor for name, tensor in small_state().items()}
    torch.save({"checkpoint": 3, "model": {"state_dict": inner}}, tmp_path / "w.pt")
    opened = open_model(tmp_path / "w.pt")
    assert same(opened, small_state())
    assert opened.notes[:-1] == (
        *("unwrapped 'model'", "ignored checkpoint", "unwrapped 'state_dict'"),
        *("removed the prefix '_orig_mod.' from 4 names", "removed the prefix 'module.' from 4 names"),
    )


def test_the_weights_themselves_come_before_an_average_of_them(tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in small_state().items()}
    torch.save({"ema": other, "state_dict": small_state()}, tmp_path / "w.pt")
    assert same(open_model(tmp_path / "w.pt"), small_state())


def test_an_averaged_model_loses_its_counter(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(nn.Linear(3, 2))
    torch.save(averaged.state_dict(), tmp_path / "w.pt")
    opened = open_model(tmp_path / "w.pt")
    assert sorted(opened.state) == ["bias", "weight"] and "ignored n_averaged" in opened.notes


@pytest.mark.parametrize("owner", ["model.", "net.", "backbone."])
def test_a_training_modules_prefix_goes_where_that_gives_a_known_network(tmp_path: Path, owner: str) -> None:
    save_file({owner + name: tensor for name, tensor in small_state().items()}, tmp_path / "w.safetensors")
    opened = open_model(tmp_path / "w.safetensors")
    assert same(opened, small_state()) and f"removed the prefix {owner!r} from 4 names" in opened.notes
    assert same(open_model(tmp_path / "w.safetensors", "mlp:6-5-3"), small_state())


def test_a_common_prefix_stays_where_nothing_is_recognised(tmp_path: Path) -> None:
    state = {"model.a.weight": torch.ones(2, 3), "model.b.weight": torch.ones(3, 2)}
    save_file(state, tmp_path / "w.safetensors")
    opened = open_model(tmp_path / "w.safetensors")
    assert same(opened, state) and opened.module is None and opened.arch is None
    assert "match no network" in opened.reason


def test_dictionaries_of_state_dicts_are_joined(tmp_path: Path) -> None:
    parts = {"generator": {"fc.weight": torch.ones(2, 3)}, "critic": {"fc.weight": torch.zeros(3, 2)}, "epoch": 4}
    torch.save({**parts, "optimizer": {"state": {"m": torch.ones(9)}}}, tmp_path / "w.pt")
    opened = open_model(tmp_path / "w.pt")
    assert sorted(opened.state) == ["critic.fc.weight", "generator.fc.weight"]
    assert opened.notes == ("joined the nested names of 2 tensors with dots",)


def test_a_lone_tensor_and_a_list_of_tensors_open(tmp_path: Path) -> None:
    torch.save(torch.ones(2, 3), tmp_path / "one.pt")
    torch.save([torch.ones(2, 3), torch.zeros(4)], tmp_path / "list.pt")
    assert sorted(open_model(tmp_path / "one.pt").state) == ["tensor"]
    assert sorted(open_model(tmp_path / "list.pt").state) == ["0", "1"]


@pytest.mark.parametrize(("name", "other"), [("w.safetensors", "w.pt"), ("w.pt", "w.safetensors"), ("w.pt", "weights")])
def test_the_content_decides_not_the_extension(tmp_path: Path, name: str, other: str) -> None:
    path = tmp_path / name
    if name == "w.pt":
        torch.save(small_state(), path)
    else:
        save_file(small_state(), path)
    opened = open_model(path.rename(tmp_path / other))
    assert same(opened, small_state())
    assert "although its name ends in" in opened.notes[0]


def test_odd_names_are_kept_as_data(tmp_path: Path) -> None:
    state = {
        name: torch.ones(2, 3) * i for i, name in enumerate(["a/b/../c", "größe·重み", "tab\tnew\nline", "..", " "])
    }
    state["tab\tnew\nline"][0] = float("inf")
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        opened = open_model(tmp_path / name)
        assert same(opened, state)
        assert "NaN or infinity in tab?new?line: kept out of the numbers" in opened.notes


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_named_and_kept(tmp_path: Path, bad: float) -> None:
    state = small_state()
    state["fc2.weight"][1, 2] = bad
    save_file(state, tmp_path / "w.safetensors")
    opened = open_model(tmp_path / "w.safetensors")
    assert "NaN or infinity in fc2.weight: kept out of the numbers" in opened.notes
    assert opened.module is not None
    assert torch.equal(opened.module.get_parameter("fc2.weight").isfinite(), state["fc2.weight"].isfinite())


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2),
        *(torch.int8, torch.uint8, torch.int64, torch.bool),
    ],
)
def test_every_type_is_kept_and_run_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: (tensor * 3).to(dtype) for name, tensor in small_state().items()}
    for name in ("w.safetensors", "w.pt"):
        save_file(state, tmp_path / name) if name == "w.safetensors" else torch.save(state, tmp_path / name)
        opened = open_model(tmp_path / name)
        assert {k: v.dtype for k, v in opened.state.items()} == dict.fromkeys(state, dtype)
        assert opened.module is not None
        weight = opened.module.get_parameter("fc1.weight")
        assert weight.dtype == torch.float32 and torch.equal(weight, state["fc1.weight"].to(torch.float32))
        assert f"stored as {str(dtype).removeprefix('torch.')}; run in float32" in opened.notes
        face_value = "integers are taken at face value: the file states no scale for them" in opened.notes
        assert face_value == (not dtype.is_floating_point)


def test_nan_in_float8_is_found(tmp_path: Path) -> None:
    torch.save({"w": torch.tensor([[1.0, float("nan")]]).to(torch.float8_e4m3fn)}, tmp_path / "w.pt")
    assert "NaN or infinity in w: kept out of the numbers" in open_model(tmp_path / "w.pt").notes


def test_complex_weights_open_but_build_no_network(tmp_path: Path) -> None:
    torch.save({name: tensor.to(torch.complex64) for name, tensor in small_state().items()}, tmp_path / "w.pt")
    opened = open_model(tmp_path / "w.pt")
    assert opened.module is None and "complex" in opened.reason


def test_opening_draws_no_random_numbers_and_shares_no_memory(tmp_path: Path) -> None:
    save_file(small_state(), tmp_path / "w.safetensors")
    before = torch.random.get_rng_state()
    opened = open_model(tmp_path / "w.safetensors")
    assert torch.equal(before, torch.random.get_rng_state())
    assert opened.module is not None
    with torch.no_grad():
        opened.module.get_parameter("fc1.weight").zero_()
    assert same(opened, small_state())


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_an_opened_file_may_be_overwritten(tmp_path: Path, name: str) -> None:
    def write(state: dict[str, Tensor]) -> None:
        save_file(state, tmp_path / name) if name == "w.safetensors" else torch.save(state, tmp_path / name)

    write(small_state())
    opened = open_model(tmp_path / name)
    size = (tmp_path / name).stat().st_size
    with (tmp_path / name).open("r+b") as file:  # in place: a mapping of the file would change with it
        file.write(b"\xff" * size)
    assert same(opened, small_state())


def test_batch_norm_counters_may_be_missing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {k: v for k, v in build(parse_arch("convnet:1-4-4-10")).state_dict().items() if "tracked" not in k}
    save_file(state, tmp_path / "w.safetensors")
    opened = open_model(tmp_path / "w.safetensors")
    assert opened.arch == parse_arch("convnet:1-4-4-10") and opened.module is not None
    assert int(opened.module.get_buffer("bn1.num_batches_tracked")) == 0


# folders


def shards() -> tuple[dict[str, str], dict[str, dict[str, Tensor]]]:
    state = small_state()
    parts = {
        "part-1.safetensors": {name: state[name] for name in ("fc1.weight", "fc2.bias")},
        "part-2.safetensors": {name: state[name] for name in ("fc1.bias", "fc2.weight")},
    }
    return {name: part for part, tensors in parts.items() for name in tensors}, parts


def test_a_sharded_folder_opens_like_one_file(tmp_path: Path) -> None:
    placed, parts = shards()
    folder = bad_files.sharded(tmp_path, {"metadata": {"total_size": 1}, "weight_map": placed}, parts)
    save_file(small_state(), tmp_path / "one.safetensors")
    whole = open_model(tmp_path / "one.safetensors")
    for source in (folder, folder / "model.safetensors.index.json"):
        opened = open_model(source)
        assert same(opened, small_state()) and opened.arch == whole.arch
        assert opened.ref.digest == whole.ref.digest


def test_shards_may_be_links_but_the_index_may_not_leave_the_folder(tmp_path: Path) -> None:
    placed, parts = shards()
    folder = bad_files.sharded(tmp_path, {"weight_map": placed}, parts)
    (folder / "part-1.safetensors").rename(tmp_path / "blob")
    (folder / "part-1.safetensors").symlink_to(tmp_path / "blob")
    assert same(open_model(folder), small_state())


def test_a_folder_with_one_checkpoint_opens_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    save_file(small_state(), tmp_path / "model.safetensors")
    torch.save({}, tmp_path / "training_args.bin")
    opened = open_model(tmp_path)
    assert same(opened, small_state()) and opened.notes[0] == "opened model.safetensors in that folder"


def test_large_files_stay_on_disk_and_leave_no_handle_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "IN_MEMORY", 10)
    placed, parts = shards()
    wrapped = {name: {"module." + k: v for k, v in part.items()} for name, part in parts.items()}
    index = {"weight_map": {"module." + name: part for name, part in placed.items()}}
    folder = bad_files.sharded(tmp_path, index, wrapped)
    opened = open_model(folder)
    assert isinstance(opened.state, tensor_files.TensorFiles)
    assert same(opened, small_state()) and opened.arch == parse_arch("mlp:6-5-3")
    assert opened.state.shapes == {name: tuple(tensor.shape) for name, tensor in small_state().items()}
    held = opened.state["fc1.weight"]
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "part-1.safetensors" not in maps.read_text()
    assert torch.equal(held, small_state()["fc1.weight"])


# the architecture


def test_a_named_architecture_is_taken_instead_of_the_recognised_one(tmp_path: Path) -> None:
    arch = parse_arch("transformer:dim=32,depth=1")
    torch.manual_seed(0)
    save_file(build(arch).state_dict(), tmp_path / "w.safetensors")
    given = parse_arch("transformer:dim=32,depth=1,size=8,patch=2")
    assert open_model(tmp_path / "w.safetensors", given).arch == given
    assert open_model(tmp_path / "w.safetensors", "transformer:dim=32,depth=1").arch == arch


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        ("mlp:6-4-3", "'fc1.weight' has shape (5, 6), not (4, 6)"),
        ("mlp:6-5-3-2", "it lacks 'fc3.weight' of shape (2, 3)"),
        ("mlp:6-5", "'fc2.bias' has no place in it"),
        ("resnet20", "it lacks 'conv1.weight' of shape (16, 3, 3, 3)"),
    ],
)
def test_a_wrong_architecture_names_the_first_mismatch(tmp_path: Path, arch: str, says: str) -> None:
    save_file(small_state(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        open_model(tmp_path / "w.safetensors", arch)
    assert says in str(caught.value)
    bad_files.assert_one_sentence(str(caught.value), tmp_path)


@pytest.mark.parametrize("arch", ["vgg16", "transformer:dim=50", "resnet18:stem=5"])
def test_an_architecture_that_cannot_be_built_is_reported(tmp_path: Path, arch: str) -> None:
    save_file(small_state(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        open_model(tmp_path / "w.safetensors", arch)
    bad_files.assert_one_sentence(str(caught.value), tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", parse_arch("mlp:6-4-3").to_json()])
def test_a_false_description_in_the_file_is_not_believed(tmp_path: Path, text: str) -> None:
    save_file(small_state(), tmp_path / "w.safetensors", {"arch": text})
    opened = open_model(tmp_path / "w.safetensors")
    assert opened.arch == parse_arch("mlp:6-5-3")
    assert opened.notes[0] == "its own description of the network does not fit its tensors and was not used"


# demos and the public checkpoint


def test_demos_open_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo_names() == ("digits-convnet", "digits-mlp", "digits-resnet", "digits-vit")
    for name in demo_names():
        opened = open_model(name)
        assert opened.ref.source == "demo" and opened.ref.name == name
        assert opened.arch == demo_info(name).arch and opened.module is not None and opened.notes == ()


def test_a_demos_name_wins_over_a_file_unless_given_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(small_state(), tmp_path / "digits-mlp")
    assert open_model("digits-mlp").ref.source == "demo"
    assert same(open_model("./digits-mlp"), small_state())


def test_an_unknown_demo_is_reported_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="digits-mlp"):
        demo_info("digits-mlq")


@pytest.mark.needs_shared
def test_the_public_resnet20_opens_and_says_what_was_done(shared: Path) -> None:
    opened = open_model(shared / "models" / "resnet20-cifar10.th")
    assert opened.arch == parse_arch("resnet20") and opened.module is not None
    assert opened.notes == (
        "unwrapped 'state_dict'",
        "ignored best_prec1",
        "removed the prefix 'module.' from 97 names",
        "recognised as ResNet-20 from names and shapes",
    )
    stored = torch.load(shared / "models" / "resnet20-cifar10.th", map_location="cpu", weights_only=True)["state_dict"]
    assert torch.equal(opened.module.get_parameter("layer2.0.conv1.weight"), stored["module.layer2.0.conv1.weight"])
