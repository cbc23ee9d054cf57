"""The embedded demos: reproducible training, and stored files that are what they say."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from core.errors import CheckpointError
from core.networks.arch import Arch, parse_arch
from core.networks.checkpoints import demo_info, demo_names, open_model
from core.training.data import open_data
from core.training.demos import RECIPES, shifted, to_safetensors, train_demo

DATA = Path(__file__).resolve().parents[3] / "data"


def test_every_recipe_has_a_stored_demo() -> None:
    assert set(demo_names()) == set(RECIPES)
    assert {open_model(name).arch.name for name in demo_names()} == {  # type: ignore[union-attr]
        *("mlp", "convnet", "resnet", "transformer")
    }


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_stored_file_is_what_its_facts_say(name: str) -> None:
    info, path = demo_info(name), DATA / f"{name}.safetensors"
    content = path.read_bytes()
    assert info.sha256 == hashlib.sha256(content).hexdigest() and info.nbytes == len(content) < 1_000_000
    row = next(line for line in (DATA / "README.md").read_text().splitlines() if line.startswith(f"| {name} | "))
    assert info.sha256 in row and f"| {info.accuracy} | {info.n} | {info.seed} |" in row
    assert (info.recipe, info.seed, info.arch) == (
        RECIPES[name].text,
        RECIPES[name].seed,
        parse_arch(RECIPES[name].arch),
    )
    assert info.recipe in (DATA / "README.md").read_text()
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert Arch.from_json(metadata["arch"]) == info.arch
    assert (metadata["accuracy"], metadata["n"], metadata["seed"]) == (str(info.accuracy), str(info.n), str(info.seed))
    assert metadata["licence"] == info.licence and metadata["recipe"] == info.recipe


@pytest.mark.parametrize(
    ("name", "least"), [("digits-mlp", 0.97), ("digits-convnet", 0.985), ("digits-resnet", 0.985), ("digits-vit", 0.96)]
)
def test_the_stored_accuracy_is_measured_again(name: str, least: float) -> None:
    opened, info = open_model(name), demo_info(name)
    x, y = open_data("digits").split("test")
    assert opened.module is not None and opened.arch is not None
    assert (opened.arch.mean, opened.arch.std) == ((0.0,), (1.0,))
    with torch.inference_mode():
        correct = sum(int(opened.module(x[i : i + 1]).argmax() == y[i]) for i in range(len(y)))
    assert info.n == len(y) == 500 and info.accuracy == correct / 500 >= least


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_training_twice_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    seen: list[tuple[str, int, int]] = []
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    one = train_demo(name, tmp_path / "one", lambda *step: seen.append(step), epochs=1)
    torch.manual_seed(99)
    torch.set_num_threads(2)
    other = train_demo(name, tmp_path / "other", epochs=1)
    torch.set_num_threads(threads)
    torch.random.set_rng_state(state)
    assert one == other and [step[1:] for step in seen] == [(1, 1)]
    for suffix in (".safetensors", ".json"):
        assert (tmp_path / "one" / (name + suffix)).read_bytes() == (tmp_path / "other" / (name + suffix)).read_bytes()
    assert one.sha256 != demo_info(name).sha256
    assert open_model(tmp_path / "one" / f"{name}.safetensors").arch == one.arch


def test_training_leaves_torch_as_it_was(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    state = torch.random.get_rng_state()
    train_demo("digits-mlp", tmp_path, epochs=1)
    assert torch.equal(state, torch.random.get_rng_state()) and torch.get_num_threads() == 2


def test_the_sidecar_holds_the_facts_and_nothing_else() -> None:
    fields = json.loads((DATA / "digits-mlp.json").read_text())
    assert sorted(fields) == sorted(
        "name label arch data accuracy n seed recipe licence sha256 nbytes".split()  # noqa: SIM905
    )


def test_shifts_move_each_image_by_its_own_offset() -> None:
    torch.manual_seed(0)
    x = torch.rand(60, 2, 4, 5) + 1
    y = shifted(x, 1)
    assert y.shape == x.shape and torch.equal(shifted(x, 0), x)
    found = set()
    for before, after in zip(x, y, strict=True):
        matches = []
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                moved = torch.zeros_like(before)
                rows, columns = slice(max(down, 0), 4 + min(down, 0)), slice(max(right, 0), 5 + min(right, 0))
                back = slice(max(-down, 0), 4 + min(-down, 0)), slice(max(-right, 0), 5 + min(-right, 0))
                moved[:, rows, columns] = before[:, back[0], back[1]]
                matches += [(down, right)] if torch.equal(moved, after) else []
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) == 9


def test_the_written_header_is_sorted_and_readable(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    for order in (("a", "b"), ("b", "a")):
        (tmp_path / "w.safetensors").write_bytes(to_safetensors(module, {key: key for key in order}))
        assert re.match(rb'\{"__metadata__":\{"a":"a","b":"b"\}', (tmp_path / "w.safetensors").read_bytes()[8:])
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert torch.equal(file.get_tensor("weight"), module.weight) and file.metadata() == {"a": "a", "b": "b"}


def test_an_unknown_demo_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="digits-mlp"):
        train_demo("digits-gan", tmp_path)
