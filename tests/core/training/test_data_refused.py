"""Broken and hostile data: each is refused in one sentence, and nothing is written beside the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import DataError
from core.training.data import open_data
from tests import bad_data
from tests.bad_files import assert_one_sentence


@pytest.mark.parametrize("case", bad_data.REFUSED)
def test_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "place").mkdir()
    path = bad_data.REFUSED[case](tmp_path / "place")
    before = sorted((tmp_path / "place").rglob("*"))
    with pytest.raises(DataError) as caught:
        open_data(path)
    assert_one_sentence(str(caught.value), tmp_path / "place")
    assert sorted((tmp_path / "place").rglob("*")) == before
    assert not list(tmp_path.glob("cache/images/*/packed.npy"))


def test_a_tar_with_too_much_in_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.training import tars

    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "cache"))
    path = bad_data.tar(tmp_path, bad_data.images())
    monkeypatch.setattr(tars, "MOST_MEMBERS", 5)
    with pytest.raises(DataError, match="absurd size"):
        open_data(path)
    monkeypatch.undo()
    monkeypatch.setattr(tars, "LARGEST_TAR", 500)
    with pytest.raises(DataError, match="absurd size"):
        open_data(path)
