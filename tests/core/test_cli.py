"""Every command on the embedded perceptron: JSON that parses and says what the journeys say, tables for people, and for
every bad input exit code 2 and one sentence on standard error, nothing on standard output."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import cli, serve
from core.catalogue import RANK_RULES
from core.compression import coupling
from core.compression.plans import STEPS, Plan, Repair
from core.journeys import demo_survey
from core.networks.arch import make_arch
from core.networks.demo_files import demo_info
from core.networks.zoo import build
from core.training import demos
from tests.bad_files import assert_one_sentence

ROOT = Path(__file__).resolve().parents[2]
DEMO = "digits-mlp"

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, command: Command, tmp_path: Path) -> Command:
    """Command lines with a cache of their own."""
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return command


@pytest.fixture
def weights_only(tmp_path: Path) -> Path:
    """A file of which only the weights can be read."""
    path = tmp_path / "odd.pt"
    torch.save({"a.weight": torch.randn(20, 30), "b[/x].weight": torch.randn(4, 20)}, path)
    return path


@pytest.fixture
def plan_file(run: Command, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    words = ("--keep", 0.5, "--quantity", "params", "--repair", "whitened,bias", "--samples", 60, "--out", path)
    assert run("plan", DEMO, *words)[0] == 0
    return path


# What the commands say


def test_spectra(answer: Callable[..., Any], run: Command) -> None:
    content = answer("spectra", DEMO)
    survey = demo_survey(DEMO)
    assert [row["layer"] for row in content["layers"]] == [view.name for view in survey.views]
    assert content["layers"][0]["singular_values"] == list(survey.layers[0].spectrum.S)
    code, out, _ = run("spectra", DEMO)
    assert code == 0 and all(view.name in out for view in survey.views)


def test_rules(answer: Callable[..., Any], run: Command) -> None:
    content = answer("rules", DEMO, "--layer", "fc1")
    assert [row["name"] for row in content["rules"]] == [row.name for row in RANK_RULES]
    assert all(0 <= row["rank"] <= min(content["m"], content["n"]) for row in content["rules"])
    code, out, _ = run("rules", DEMO, "--layer", "fc1")
    assert code == 0 and "EVBMF" in out


@pytest.mark.parametrize("quantity", ["params", "macs", "bytes"])
def test_plan(answer: Callable[..., Any], tmp_path: Path, quantity: str) -> None:
    path = tmp_path / "out.json"
    content = answer("plan", DEMO, "--keep", 0.5, "--quantity", quantity, "--out", path)
    assert content["outcome"] == "OK" and content["kept"][quantity] <= 0.5
    assert content["cost"][quantity] == round(content["kept"][quantity] * content["dense"][quantity])
    assert Plan.from_json(path.read_text()) == Plan.from_json(json.dumps(content["plan"]))
    assert Plan.from_json(path.read_text()).repair.steps == STEPS


def test_plan_with_options(answer: Callable[..., Any], run: Command, small: Path) -> None:
    words = ("--keep", 0.6, "--quantity", "params", "--method", "greedy", "--families", "sparse", "--repair", "none")
    made = Plan.from_json(json.dumps(answer("plan", DEMO, *words)["plan"]))
    assert {entry.form.family for entry in made.layers} == {"sparse"} and made.repair.steps == ()
    calibrated = answer("plan", small, "--keep", 0.5, "--data", "digits", "--samples", 30, "--seed", 2)
    assert "damage" in calibrated["objective"] and calibrated["plan"]["repair"]["samples"] == 30
    eights = Plan.from_json(json.dumps(answer("plan", DEMO, "--keep", 0.6, "--multiple", 4)["plan"]))
    assert all(entry.form.level % 4 == 0 for entry in eights.layers)
    code, out, _ = run("plan", DEMO, "--keep", 0.5)
    assert code == 0 and "kept:" in out and re.search(r"low-rank \(two factors\), rank \d+ ", out)
    assert not re.search(r"[A-Z]\w+\(", out), "a record as Python writes it"


@pytest.mark.parametrize("quantity", ["params", "macs", "bytes"])
def test_a_budget_that_cannot_be_met_says_so_and_writes_nothing(run: Command, tmp_path: Path, quantity: str) -> None:
    words = ("--keep", 0.0001, "--quantity", quantity, "--out", tmp_path / "plan.json")
    for more in ((), ("--json",)):
        code, out, err = run("plan", DEMO, *words, *more)
        assert (code, out) == (2, "") and "raise the budget" in err
        assert_one_sentence(err.strip(), tmp_path)
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize("keep", [0, -0.1, 1.01])
def test_a_share_outside_its_range_is_bad_input(run: Command, keep: float) -> None:
    code, _, err = run("plan", DEMO, "--keep", keep)
    assert code == 2 and err.startswith("--keep takes a fraction above 0 and at most 1")


def test_a_budget_of_everything_compresses_nothing(answer: Callable[..., Any]) -> None:
    full = answer("plan", DEMO, "--keep", 1)
    assert full["outcome"] == "ABOVE_DENSE" and full["plan"]["layers"] == []


def test_evaluate(answer: Callable[..., Any], run: Command, plan_file: Path) -> None:
    dense = answer("evaluate", DEMO, "--data", "digits")
    assert dense["dense"]["n"] == 500 and dense["dense"]["value"] > 0.9 and dense["compressed"] is None
    words = ("--data", "digits", "--plan", plan_file, "--limit", 40, "--seed", 1)
    content = answer("evaluate", DEMO, *words, "--stages", "--latency")
    assert content["compressed"]["n"] == 40 and content["kept"]["params"] <= 0.5
    assert [name for name, _ in content["stages"]] == [gain["step"] for gain in content["gains"]]
    assert content["latency"]["verdict"] and content["dense"]["provenance"]["conditions"].startswith("40 test examples")
    code, out, _ = run("evaluate", DEMO, *words, "--latency")
    assert code == 0 and "whitened: distance to the dense outputs" in out and "latency:" in out


def test_rows_are_removed_and_counted(answer: Callable[..., Any], run: Command, tmp_path: Path) -> None:
    words = ("--keep", 0.5, "--quantity", "params", "--families", "filters", "--samples", 60)
    content = answer("plan", DEMO, *words, "--remove-rows", "--out", tmp_path / "rows.json")
    assert content["plan"]["remove"] and content["kept"]["macs"] == 1.0
    words = ("--data", "digits", "--plan", tmp_path / "rows.json", "--limit", 40)
    found = answer("evaluate", DEMO, *words)
    assert found["kept"]["macs"] < 0.5 and found["cost"]["macs"] == round(found["kept"]["macs"] * 51072)
    code, out, _ = run("evaluate", DEMO, *words)
    assert code == 0 and "counted on the smaller network" in out
    assert answer("export", DEMO, "--plan", tmp_path / "rows.json", "--out", tmp_path / "b", "--data", "digits")["ok"]
    stored = json.loads((tmp_path / "b" / "plan.json").read_text())["bundle"]
    assert stored["cost"] == found["cost"] and set(stored["sizes"]) <= {"fc1", "fc2", "fc3"}


def test_rows_cannot_be_removed_without_the_package(
    run: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(coupling, "PACKAGE", "no_such_package")
    code, out, err = run("plan", DEMO, "--keep", 0.5, "--families", "filters", "--remove-rows")
    assert (code, out) == (2, "") and "pip install torch-pruning" in err
    assert_one_sentence(err.strip(), tmp_path)


def test_export(answer: Callable[..., Any], run: Command, plan_file: Path, tmp_path: Path) -> None:
    content = answer(
        "export", DEMO, "--plan", plan_file, "--out", tmp_path / "bundle", "--data", "digits", "--limit", 20
    )
    assert content["max_difference"] <= 1e-5
    assert (tmp_path / "bundle" / "model.safetensors").is_file()
    code, out, _ = run(
        "export", DEMO, "--plan", plan_file, "--out", tmp_path / "other", "--data", "digits", "--limit", 20
    )
    assert code == 0 and out.startswith("other: read back")


def test_export_as_a_zip(run: Command, plan_file: Path, tmp_path: Path) -> None:
    """Unpacked with the standard library and loaded by its own loader, in a process that has nothing of ours."""
    words = ("export", DEMO, "--plan", plan_file, "--data", "digits", "--limit", 20, "--out", tmp_path / "x.zip")
    code, out, err = run(*words)
    assert code == 0 and out.startswith("x.zip: read back"), err
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.testzip() is None and {Path(name).parent for name in archive.namelist()} == {Path("x")}
        archive.extractall(tmp_path / "out")
    loader = [sys.executable, "-I", "load_model.py"]
    found = subprocess.run(loader, cwd=tmp_path / "out" / "x", capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    assert run(*words)[0] == 0, "an earlier export is replaced"


def test_train_demo(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any], tmp_path: Path) -> None:
    """The training itself is tested with the demos; here only that the command asks for it."""
    asked: list[object] = []

    def train(name: str, folder: Path, progress: object) -> object:
        asked.append((name, folder))
        return demo_info(name)

    monkeypatch.setattr(demos, "train_demo", train)
    (info,) = answer("train-demo", DEMO, "--out", tmp_path / "demos")
    assert info["name"] == DEMO and asked == [(DEMO, tmp_path / "demos")]


def test_weights_alone_can_be_looked_at_and_planned(
    answer: Callable[..., Any], run: Command, weights_only: Path
) -> None:
    content = answer("spectra", weights_only)
    assert [row["layer"] for row in content["layers"]] == ["a", "b[/x]"] and content["reason"]
    _, out, _ = run("spectra", weights_only)
    assert "b[/x]" in out and "unknown" in out  # nothing in a name is taken for markup
    words = ("plan", weights_only, "--keep", 0.5, "--quantity", "params")
    made = answer(*words)
    assert made["outcome"] == "OK" and made["plan"]["repair"]["steps"] == []
    assert set(made["kept"]) == {"params", "bytes"} and made["dense"]["macs"] == 0
    _, out, _ = run(*words)
    assert "of params" in out and "of bytes" in out and "macs" not in out
    assert answer("rules", weights_only, "--layer", "b[/x]")["m"] == 4


def test_the_users_own_network(answer: Callable[..., Any], tmp_path: Path, small: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text(
        "from collections import OrderedDict\nfrom torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(OrderedDict(flat=nn.Flatten(), fc1=nn.Linear(64, 12), act=nn.ReLU(),\n"
        "                                     fc2=nn.Linear(12, 10)))\n"
    )
    words = ("--model", f"{code}:make", "--input", "1x8x8")
    assert answer("evaluate", small, *words, "--data", "digits", "--limit", 20)["dense"]["n"] == 20
    rows = answer("spectra", small, *words)["layers"]
    assert [row["cost"]["macs"] for row in rows] == [64 * 12, 120]


def test_serve_is_the_worker(monkeypatch: pytest.MonkeyPatch, run: Command) -> None:
    called: list[bool] = []
    monkeypatch.setattr(serve, "main", lambda: called.append(True))
    assert run("serve")[0] == 0 and called == [True]


def test_help_names_every_command(run: Command) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("spectra", "rules", "plan", "evaluate", "export", "train-demo", "serve"):
        assert command in out
        assert run(command, "--help")[0] == 0
    code, out, err = run()
    assert code == 2 and "Usage" in out + err


# What a user can get wrong

BAD: dict[str, tuple[object, ...]] = {
    "an unknown command": ("spektra", DEMO),
    "an unknown option": ("spectra", DEMO, "--bogus"),
    "no model": ("spectra",),
    "an unknown model": ("spectra", "no-such-model"),
    "an unknown architecture": ("spectra", DEMO, "--arch", "vgg16"),
    "another architecture": ("spectra", DEMO, "--arch", "resnet20"),
    "user code that is not there": ("spectra", DEMO, "--model", "nothing.py:make"),
    "sizes that are none": ("spectra", DEMO, "--input", "3xax9"),
    "no layer": ("rules", DEMO),
    "an unknown layer": ("rules", DEMO, "--layer", "fc9"),
    "no budget": ("plan", DEMO),
    "a budget of nothing": ("plan", DEMO, "--keep", 0),
    "a budget that cannot be met": ("plan", DEMO, "--keep", 0.0001),
    "a budget above one": ("plan", DEMO, "--keep", 1.5),
    "a negative budget": ("plan", DEMO, "--keep", -0.5),
    "a budget that is no number": ("plan", DEMO, "--keep", "half"),
    "a budget of nan": ("plan", DEMO, "--keep", "nan"),
    "an unknown quantity": ("plan", DEMO, "--keep", 0.5, "--quantity", "flops"),
    "an unknown method": ("plan", DEMO, "--keep", 0.5, "--method", "best"),
    "an unknown family": ("plan", DEMO, "--keep", 0.5, "--families", "lowrank,tucker"),
    "rows removed that nothing masks": ("plan", DEMO, "--keep", 0.5, "--remove-rows"),
    "an unknown repair": ("plan", DEMO, "--keep", 0.5, "--repair", "whitened,prayer"),
    "a multiple of nothing": ("plan", DEMO, "--keep", 0.5, "--multiple", 0),
    "no samples": ("plan", DEMO, "--keep", 0.5, "--samples", 0),
    "a negative seed": ("plan", DEMO, "--keep", 0.5, "--seed", -1),
    "a seed too large": ("evaluate", DEMO, "--data", "digits", "--seed", 2**32),
    "a place that is not there": ("plan", DEMO, "--keep", 0.5, "--out", "no/such/folder/plan.json"),
    "no data": ("evaluate", DEMO),
    "unknown data": ("evaluate", DEMO, "--data", "no-such-data"),
    "a limit of nothing": ("evaluate", DEMO, "--data", "digits", "--limit", 0),
    "a plan that is not there": ("evaluate", DEMO, "--data", "digits", "--plan", "missing.json"),
    "a plan that is a folder": ("evaluate", DEMO, "--data", "digits", "--plan", "."),
    "a plan that is none": ("evaluate", DEMO, "--data", "digits", "--plan", "small.pt"),
    "a plan for another model": ("evaluate", "digits-vit", "--data", "digits", "--plan", "plan.json"),
    "a repair without data": ("export", DEMO, "--plan", "plan.json", "--out", "bundle"),
    "an export without a place": ("export", DEMO, "--plan", "plan.json"),
    "an export over a file": ("export", DEMO, "--plan", "bare.json", "--out", "small.pt"),
    "an export over another zip": ("export", DEMO, "--plan", "bare.json", "--out", "other.zip"),
    "images of another size": ("evaluate", "digits-resnet", "--data", "large.npz"),
    "an unknown demo": ("train-demo", "no-such-demo"),
    "accuracy of weights alone": ("evaluate", "odd.pt", "--data", "digits"),
    "macs of weights alone": ("plan", "odd.pt", "--keep", 0.5),
    "a network of another size": ("evaluate", "wide.pt", "--data", "digits"),
    "not a number for a layer": ("rules", "nan.pt", "--layer", "a"),
}


@pytest.mark.usefixtures("small", "weights_only", "plan_file")
@pytest.mark.parametrize("words", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("as_json", [False, True], ids=["", "json"])
def test_bad_input_is_one_sentence_and_exit_code_two(
    run: Command, tmp_path: Path, words: tuple[object, ...], as_json: bool
) -> None:
    torch.save(build(make_arch("mlp", {"widths": (100, 12, 10)})).state_dict(), tmp_path / "wide.pt")
    torch.save({"a.weight": torch.full((3, 4), float("nan")), "b.weight": torch.randn(3, 4)}, tmp_path / "nan.pt")
    np.savez(tmp_path / "large.npz", x=np.zeros((20, 16, 16)), y=np.arange(20) % 10)
    (tmp_path / "other.zip").write_bytes((tmp_path / "large.npz").read_bytes())
    plain = replace(Plan.from_json((tmp_path / "plan.json").read_text()), repair=Repair(()))
    (tmp_path / "bare.json").write_text(plain.to_json())
    code, out, err = run(*words, *(["--json"] if as_json and words[0] != "spektra" else []))
    assert code == 2, (out, err)
    assert out == ""
    assert err.endswith("\n") and err.count("\n") == 1, err
    assert_one_sentence(err.strip(), tmp_path)


def test_an_interrupt_is_silent(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.journeys, "open_network", interrupted)
    code, out, _ = run("spectra", DEMO)
    assert code == 130 and out == ""


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli.journeys, "open_network", broken)
    monkeypatch.setattr(sys, "argv", ["core", "spectra", DEMO])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_progress_goes_to_standard_error(tmp_path: Path) -> None:
    """The real process: JSON alone on standard output."""
    environment = {**os.environ, "RANKSCOPE_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "core", "plan", DEMO, "--keep", "0.5", "--json"]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["outcome"] == "OK"
    bad = subprocess.run([*command[:3], "plan", DEMO], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert bad.returncode == 2 and bad.stdout == ""
    assert_one_sentence(bad.stderr.strip(), tmp_path)
