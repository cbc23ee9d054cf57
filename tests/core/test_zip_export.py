"""Zips against the standard library: what is in them, that this is what is proved, and what is left alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from core import zip_export
from core.compression.apply import apply
from core.compression.plans import LayerPlan, Plan, Repair
from core.compression.surveying import survey_model
from core.errors import InputError, RankscopeError
from core.export import read_bundle, refuse_foreign, write_bundle
from core.networks.arch import ModelRef, parse_arch
from core.networks.checkpoints import Opened
from core.networks.forms import LowRank
from core.networks.state_dicts import digest_of
from core.networks.zoo import build
from core.zip_export import refuse_foreign_zip, write_zip
from tests.bad_files import assert_one_sentence


def export(path: Path, write=write_zip, seed: int = 0):
    torch.manual_seed(seed)
    arch = parse_arch("mlp:36-20-10")
    network = build(arch).eval()
    opened = Opened(
        ModelRef("file", "a.pt", digest_of(network.state_dict())[0]), network.state_dict(), arch, network, ()
    )
    plan = Plan(opened.ref, (LayerPlan("fc1", LowRank(3)),), Repair(()))
    return write(path, opened, plan, apply(plan, network), survey_model(opened), torch.rand(3, 1, 6, 6))


def test_a_zip_holds_the_folder_that_a_plain_export_writes(tmp_path):
    check = export(tmp_path / "new" / "x.zip")
    export(tmp_path / "x", write_bundle)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.zip"], "nothing else is left"
    with zipfile.ZipFile(tmp_path / "new" / "x.zip") as archive:
        assert archive.testzip() is None
        for file in ("model.safetensors", "check.safetensors", "load_model.py", "architecture.py"):
            assert archive.read(f"x/{file}") == (tmp_path / "x" / file).read_bytes()
        assert {name.partition("/")[2] for name in archive.namelist()} == {p.name for p in (tmp_path / "x").iterdir()}
        archive.extractall(tmp_path / "out")
    assert read_bundle(tmp_path / "out" / "x").check == check and check.ok


def test_what_counts_is_what_the_zip_holds(tmp_path, monkeypatch):
    """A packer that spoils the weights is found out, and nothing is left behind."""

    def spoil(folder, path):
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4] + b"zzzz")
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"{folder.name}/{file.name}")
        return path

    monkeypatch.setattr(zip_export, "zip_bundle", spoil)
    with pytest.raises(RankscopeError, match="nothing was written"):
        export(tmp_path / "x.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_zip_that_cannot_be_unpacked_is_found_out(tmp_path, monkeypatch):
    def cut(folder, path):
        path.write_bytes(b"PK\x03\x04 and no more")
        return path

    monkeypatch.setattr(zip_export, "zip_bundle", cut)
    with pytest.raises(RankscopeError, match="nothing was written"):
        export(tmp_path / "x.zip")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_is_replaced(tmp_path):
    export(tmp_path / "x.zip")
    before = (tmp_path / "x.zip").read_bytes()
    export(tmp_path / "x.zip", seed=1)
    assert (tmp_path / "x.zip").read_bytes() != before


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


PLAN = b'{"schema": 1, "bundle": {"schema": 1, "files": {}, "digest": ""}}'
FOREIGN = {
    "empty": {},
    "notes": {"notes.txt": b"mine"},
    "a plan alone": {"x/plan.json": b'{"schema": 1, "layers": []}'},
    "a plan that says bundle": {"x/plan.json": b'["bundle"]'},
    "weights alone": {"x/model.safetensors": b"w"},
    "a bundle and notes": {"x/plan.json": PLAN, "x/notes.txt": b"mine"},
    "a bundle and another folder": {"x/plan.json": PLAN, "y/report.html": b"mine"},
    "a bundle twice": {"x/plan.json": PLAN, "y/plan.json": PLAN},
    "a bundle without a folder": {"plan.json": PLAN, "notes.txt": b"mine"},
    "a deep plan": {"x/plan.json": b"[" * 100_000},
}


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_any_other_zip_is_left_alone(tmp_path, files):
    path = packed(tmp_path / "x.zip", files)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"x\.zip is no earlier export") as caught:
        export(path)
    assert_one_sentence(str(caught.value), tmp_path)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["x.zip"]


def test_the_plan_that_tells_a_bundle_is_enough(tmp_path):
    refuse_foreign_zip(packed(tmp_path / "x.zip", {"x/plan.json": PLAN, "x/report.html": b""}))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "plan.json").write_bytes(PLAN)
    refuse_foreign(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text", b"PK\x05\x06" + bytes(18)])
def test_any_other_file_is_left_alone(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(InputError, match="no earlier export"):
        export(tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == content


def test_a_folder_called_like_a_zip_is_left_alone(tmp_path):
    (tmp_path / "x.zip").mkdir()
    with pytest.raises(InputError, match=r"x\.zip is a folder"):
        export(tmp_path / "x.zip")


@pytest.mark.parametrize("plan", [b'["bundle"]', b'"bundle"', b'{"bundle": 1}', b'{"bundle": {}}', b"", b"\xff"])
def test_a_folder_with_a_plan_that_no_export_wrote_is_left_alone(tmp_path, plan):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "plan.json").write_bytes(plan)
    with pytest.raises(InputError, match="holds other files"):
        export(tmp_path / "x", write_bundle)
    assert (tmp_path / "x" / "plan.json").read_bytes() == plan


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(InputError, match=r"x\.zip cannot be written"):
        export(tmp_path / "f" / "x.zip")
