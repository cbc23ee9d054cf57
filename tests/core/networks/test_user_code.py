"""The user's own network, from the command line only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from core.errors import CheckpointError
from core.networks.checkpoints import open_model
from core.networks.user_code import attach, from_module, load_user_model
from tests import bad_files

ROOT = Path(__file__).resolve().parents[3]

CODE = """
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Sizes:
    hidden: int = 5

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, Sizes().hidden)
        self.fc2 = nn.Linear(5, 3)
    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x)))

def text(): return "no network"
def fails(): raise KeyError("layers")
number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(CODE)
    return tmp_path / "net.py"


def test_a_network_from_a_file_runs_with_opened_weights(file: Path) -> None:
    state = bad_files.small_state()
    save_file(state, file.parent / "w.safetensors")
    opened = attach(open_model(file.parent / "w.safetensors"), load_user_model(f"{file}:Net"))
    x = torch.randn(4, 6)
    wanted = torch.tanh(x @ state["fc1.weight"].T + state["fc1.bias"]) @ state["fc2.weight"].T + state["fc2.bias"]
    assert opened.module is not None and not opened.module.training and opened.arch is None and opened.reason == ""
    with torch.no_grad():
        torch.testing.assert_close(opened.module(x), wanted)


def test_a_network_with_its_own_weights_opens(file: Path) -> None:
    network = load_user_model(f"{file}:Net")
    opened = from_module(network, "Net")
    assert not network.training
    assert opened.ref.source == "user code" and opened.module is network and len(opened.ref.digest) == 64
    with torch.no_grad():
        network.get_parameter("fc1.weight")[0, 0] = float("nan")
    assert from_module(network, "Net").notes == ("NaN or infinity in fc1.weight: kept out of the numbers",)


@pytest.mark.parametrize(
    "name", ["", "net.py", "net.py:", "net.txt:Net", "net.py:no-name", "nowhere.py:Net", "net.py:Nat"]
)
@pytest.mark.parametrize("function", [""])
def test_what_names_no_network_is_reported(file: Path, name: str, function: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_user_model(str(file.parent / name))
    bad_files.assert_one_sentence(str(caught.value), file.parent)


@pytest.mark.parametrize(
    ("function", "says"),
    [("text", "returned str"), ("fails", "failed with KeyError"), ("number", "no function called")],
)
def test_what_makes_no_network_is_reported(file: Path, function: str, says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as caught:
        load_user_model(f"{file}:{function}")
    bad_files.assert_one_sentence(str(caught.value), file.parent)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (nn.Linear(6, 5), "the file lacks 'weight'"),
        (nn.ModuleDict({"fc1": nn.Linear(6, 5), "fc2": nn.Linear(5, 4)}), r"'fc2.weight' has shape \(3, 5\)"),
        (nn.ModuleDict({"fc1": nn.Linear(6, 5)}), "the network has no 'fc2"),
    ],
)
def test_weights_that_do_not_fit_name_the_first_tensor(tmp_path: Path, network: nn.Module, says: str) -> None:
    save_file(bad_files.small_state(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=says) as caught:
        attach(open_model(tmp_path / "w.safetensors"), network)
    bad_files.assert_one_sentence(str(caught.value), tmp_path)


def test_no_page_can_reach_user_code() -> None:
    for path in [*ROOT.glob("app/**/*.py"), ROOT / "streamlit_app.py"]:
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [f"{node.module}.{alias.name}" for alias in node.names]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert not any("user_code" in name or "load_user_model" in name for name in imported), path.name
