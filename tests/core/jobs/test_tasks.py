"""The table of tasks: what a request becomes, how it stops, and that opening the same file again costs nothing and
never gives what the file held before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import journeys
from core.errors import Cancelled, DataError, InputError
from core.jobs import tasks
from core.jobs.tasks import opened_data, opened_model, perform, sentence_of
from core.networks.arch import make_arch
from core.networks.zoo import build
from tests.bad_files import assert_one_sentence

DEMO = "digits-mlp"


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing opened before, nothing left open."""
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "cache"))
    shelves: tuple[Any, ...] = (tasks._models, tasks._data, tasks._dense)
    for shelf in shelves:
        shelf.clear()
    yield
    for shelf in shelves:
        shelf.clear()


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of models as they are really opened."""
    made: list[str] = []
    really = journeys.open_network

    def opening(source: str, *rest: Any) -> Any:
        made.append(Path(source).name)
        return really(source, *rest)

    monkeypatch.setattr(journeys, "open_network", opening)
    return made


def saved(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    torch.save(build(make_arch("mlp", {"widths": (64, 12, 10)})).state_dict(), path)
    return path


def test_a_task_gives_what_the_journey_gives() -> None:
    found = perform({"do": "evaluate", "model": DEMO, "data": "digits", "limit": 40, "seed": 3})
    from core.training.data import open_data

    wanted = journeys.evaluate(journeys.open_network(DEMO), open_data("digits"), None, 40, 3)
    assert found["dense"]["value"] == wanted.dense.value and found["dense"]["n"] == 40
    assert found["compressed"] is None


def test_progress_is_passed_on() -> None:
    told: list[tuple[str, int, int]] = []
    perform({"do": "evaluate", "model": DEMO, "data": "digits"}, lambda *words: told.append(words))
    assert ("accuracy", 0, 500) in told


def test_it_stops_when_it_is_told_to() -> None:
    with pytest.raises(Cancelled):
        perform({"do": "evaluate", "model": "no-such-model"}, cancelled=lambda: True)  # before it begins
    asked: list[int] = []

    def second() -> bool:
        asked.append(1)
        return len(asked) > 1

    with pytest.raises(Cancelled):
        perform({"do": "evaluate", "model": DEMO, "data": "digits"}, cancelled=second)
    assert len(asked) == 2


def test_an_unknown_task_is_said(tmp_path: Path) -> None:
    for request in ({"do": "juggle"}, {}):
        with pytest.raises(InputError) as refusal:
            perform(request)
        assert_one_sentence(str(refusal.value), tmp_path)


def test_every_error_is_one_sentence(tmp_path: Path) -> None:
    assert sentence_of(DataError("These are none; bring others.")) == "These are none; bring others."
    for error in (MemoryError(), ZeroDivisionError("secret detail"), KeyError("model")):
        assert_one_sentence(sentence_of(error), tmp_path)
        assert "secret" not in sentence_of(error)


def test_the_same_model_is_opened_once(tmp_path: Path, opens: list[str]) -> None:
    path = saved(tmp_path / "a.pt")
    first = opened_model({"model": str(path)})
    assert opened_model({"model": str(path)}) is first and opens == ["a.pt"]
    assert opened_model({"model": DEMO}) is opened_model({"model": DEMO})
    assert opens == ["a.pt", DEMO]


def test_another_network_of_the_same_file_is_opened_anew(tmp_path: Path, opens: list[str]) -> None:
    path = str(saved(tmp_path / "a.pt"))
    opened_model({"model": path})
    opened_model({"model": path, "arch": "mlp:64-12-10"})
    assert opens == ["a.pt", "a.pt"]


def test_a_file_that_changed_is_opened_anew(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    before, times = opened_model({"model": str(path)}), path.stat()
    size = times.st_size
    saved(path, seed=1)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # even if its time is set back
    after = opened_model({"model": str(path)})
    assert path.stat().st_size == size and after.ref.digest != before.ref.digest


def test_a_file_in_a_folder_that_changed_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    saved(folder / "model.pt")
    before = opened_model({"model": str(folder)})
    saved(folder / "model.pt", seed=1)
    assert opened_model({"model": str(folder)}).ref.digest != before.ref.digest


def test_two_are_kept_and_the_oldest_goes(tmp_path: Path, opens: list[str]) -> None:
    a, b, c = (str(saved(tmp_path / f"{name}.pt")) for name in "abc")
    for path in (a, b, a, c, a, b):
        opened_model({"model": path})
    assert opens == ["a.pt", "b.pt", "c.pt", "b.pt"]
    assert len(tasks._models) == 2


def test_a_large_one_is_not_kept(tmp_path: Path, opens: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "KEPT_BYTES", 10)
    path = str(saved(tmp_path / "a.pt"))
    opened_model({"model": path})
    opened_model({"model": path})
    assert opens == ["a.pt", "a.pt"] and not tasks._models


def test_what_cannot_be_opened_is_not_kept(tmp_path: Path) -> None:
    for name in ("missing.pt", "bad.pt"):
        (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
        with pytest.raises(InputError):
            opened_model({"model": str(tmp_path / name)})
    assert not tasks._models
    saved(tmp_path / "missing.pt")
    assert opened_model({"model": str(tmp_path / "missing.pt")}).module is not None


def test_data_are_opened_once_while_their_files_stay(tmp_path: Path) -> None:
    assert opened_data({"data": "digits"}) is opened_data({"data": "digits"})
    path = tmp_path / "images.npz"
    for count in (20, 30):
        np.savez(path, x=np.zeros((count, 8, 8), np.uint8), y=np.arange(count) % 10)
        data = opened_data({"data": str(path)})
        assert len(data.labels) == count and opened_data({"data": str(path)}) is data


def test_a_task_leaves_the_network_it_was_given_as_it_was(tmp_path: Path) -> None:
    opened = opened_model({"model": DEMO})
    assert opened.module is not None
    before = {name: tensor.clone() for name, tensor in opened.module.state_dict().items()}
    from core.compression.allocate import Budget, allocate
    from core.compression.plans import STEPS, Repair

    survey = journeys.demo_survey(DEMO)
    plan = allocate(survey, Budget.keep(survey, 0.4, "macs"), repair=Repair(STEPS, 60, 0)).plan.to_json()
    asked = {"do": "evaluate", "model": DEMO, "data": "digits", "plan": plan, "timed": True, "limit": 50}
    first, second = perform(asked), perform(asked)
    assert first["compressed"]["value"] == second["compressed"]["value"]
    after = opened.module.state_dict()
    assert opened_model({"model": DEMO}) is opened and list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(module._forward_hooks for module in opened.module.modules())
