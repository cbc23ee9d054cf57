"""Hostile and broken files: each is refused in one sentence, quickly, and nothing in them ever runs."""

from __future__ import annotations

import ast
import resource
import zipfile
from pathlib import Path

import pytest
import torch

from core.errors import CheckpointError
from core.networks import pickles
from core.networks.checkpoints import open_model
from tests import bad_files

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests run in a folder of their own, where code from a file would leave its marker."""
    folder = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("builder", bad_files.REFUSED, ids=lambda builder: builder.__name__)
def test_refused_in_one_sentence(tmp_path: Path, elsewhere: Path, builder: bad_files.Builder) -> None:
    path = builder(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError) as caught:
        open_model(path)
    bad_files.assert_one_sentence(str(caught.value), tmp_path)
    assert list(elsewhere.iterdir()) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB: no bomb went off


@pytest.mark.parametrize("variable", ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_WEIGHTS_ONLY_LOAD"])
@pytest.mark.parametrize("builder", bad_files.CODE, ids=lambda builder: builder.__name__)
def test_code_never_runs_whatever_the_environment_says(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, builder: bad_files.Builder, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(CheckpointError, match=r"would import (posix|nt)\.system, so nothing in it was run"):
        open_model(builder(tmp_path))
    assert not (elsewhere / bad_files.MARKER).exists()


@pytest.mark.parametrize("builder", [bad_files.code_in_zip, bad_files.code_in_legacy], ids=lambda b: b.__name__)
def test_the_code_in_these_files_is_live(tmp_path: Path, elsewhere: Path, builder: bad_files.Builder) -> None:
    """The witness for the tests above: the unsafe loader does run it."""
    with pytest.raises(Exception):  # noqa: B017  the file is no sound checkpoint behind its command
        torch.load(builder(tmp_path), weights_only=False)["w"].shape  # noqa: B018
    assert (elsewhere / bad_files.MARKER).exists()


def test_what_a_pickle_wants_is_listed_as_torch_lists_it(tmp_path: Path) -> None:
    for builder in (bad_files.code_in_zip, bad_files.whole_module):
        path = builder(tmp_path)
        listed = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        assert set(pickles.globals_wanted(path)) == set(listed) != set()


@pytest.mark.parametrize("old", [False, True])
def test_a_plain_state_dict_wants_nothing(tmp_path: Path, old: bool) -> None:
    content = {"state_dict": bad_files.small_state(), "epoch": 3, "shape": torch.Size([2])}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=not old)
    assert pickles.globals_wanted(tmp_path / "w.pt") == ()


def test_names_in_a_file_cannot_break_the_sentence(tmp_path: Path) -> None:
    nasty = "line\nbreak. And a second sentence\x1b[31m" + "x" * 5000
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    path = tmp_path / "w.safetensors"
    path.write_bytes(bad_files.safetensors_bytes({nasty: entry}, b"\0" * 4))
    with pytest.raises(CheckpointError) as caught:
        open_model(path, "mlp:2-2")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 400
    path = tmp_path / ("long" * 50 + ".safetensors")
    path.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        open_model(path)
    bad_files.assert_one_sentence(str(caught.value), tmp_path)


@pytest.mark.parametrize("cut", range(0, 700, 37))
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, cut: int) -> None:
    for name, old in (("w.pt", False), ("w.th", True)):
        torch.save(bad_files.small_state(), tmp_path / name, _use_new_zipfile_serialization=not old)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) * cut // 700])
        with pytest.raises(CheckpointError) as caught:
            open_model(tmp_path / name)
        bad_files.assert_one_sentence(str(caught.value), tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_never_escape_as_anything_else(tmp_path: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name in ("w.safetensors", "w.pt", "w.th"):
        if name == "w.safetensors":
            content = bytearray(bad_files.save(bad_files.small_state()))
        else:
            torch.save(bad_files.small_state(), tmp_path / name, _use_new_zipfile_serialization=name == "w.pt")
            content = bytearray((tmp_path / name).read_bytes())
        for at in torch.randint(0, len(content), (12,), generator=generator).tolist():
            content[at] ^= 1 << int(torch.randint(0, 8, (), generator=generator))
        (tmp_path / name).write_bytes(content)
        try:
            open_model(tmp_path / name)  # flipped weights are still weights
        except CheckpointError as error:
            bad_files.assert_one_sentence(str(error), tmp_path)


def test_a_tensor_that_claims_more_than_its_storage_is_refused_and_named(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(10).expand(4, 10), "b": torch.zeros(4)}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"'w' claims 160 bytes but holds 40"):
        open_model(tmp_path / "w.pt")


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save(bad_files.small_state(), tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="compressed archive"):
        open_model(tmp_path / "w.pt")


def test_torch_load_is_called_in_one_place_and_safely() -> None:
    calls = []
    for path in [*ROOT.glob("core/**/*.py"), *ROOT.glob("app/**/*.py"), ROOT / "streamlit_app.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads"):
                calls.append((path.name, ast.unparse(node)))
    assert [name for name, _ in calls] == ["pickles.py"]
    assert "weights_only=True" in calls[0][1]


def test_shared_bytes_beyond_reason_are_refused(tmp_path: Path) -> None:
    whole = torch.zeros(1000)
    torch.save({f"w{i}": whole.view(10, 100) for i in range(pickles.SHARING_LIMIT + 1)}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="share"):
        open_model(tmp_path / "w.pt")
    torch.save({f"w{i}": whole.view(10, 100) for i in range(4)}, tmp_path / "w.pt")
    assert len(open_model(tmp_path / "w.pt").state) == 4
