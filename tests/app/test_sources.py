"""Where files from the browser may lie, and that nothing else can be opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from app import sources
from core.errors import InputError

DEMO = "digits-resnet"


@pytest.fixture
def folder(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configured folder with models, data, and ways out of it."""
    made = tmp_path / "models"
    for path in ("a.safetensors", "sub/b.PTH", "sharded/model.safetensors.index.json", "d.npz", "notes.txt"):
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_bytes(b"x" * 2_500_000 if path == "d.npz" else b"x")
    (made / "images" / "test" / "cat").mkdir(parents=True)
    (tmp_path / "secret.pt").write_bytes(b"secret")
    (made / "link.pt").symlink_to(tmp_path / "secret.pt")
    (made / "out").symlink_to(tmp_path)
    monkeypatch.setenv("RANKSCOPE_MODELS", str(made))
    return made


def test_what_lies_in_the_folder_or_was_uploaded_can_be_opened(folder: Path) -> None:
    source = sources.store_upload("net.pt", b"weights")
    assert Path(sources.path_of(source)).read_bytes() == b"weights"
    assert sources.path_of("folder:sub/b.PTH") == str(folder.resolve() / "sub/b.PTH")
    assert sources.path_of(DEMO) == DEMO and sources.path_of("digits") == "digits"


@pytest.mark.parametrize(
    "source",
    [
        "folder:../secret.pt",
        "folder:sub/../../secret.pt",
        "folder:link.pt",
        "folder:out/secret.pt",
        "folder:/etc/passwd",
        "folder:.",
        "folder:",
        "folder:a\x00.pt",
        "folder:" + "a" * 5000,
        "upload:../../secret.pt",
        "upload:0123456789abcdef/gone.pt",
        "upload:.",
        "/etc/passwd",
        "file:///etc/passwd",
        "../secret.pt",
        "",
        "no such demo",
    ],
)
def test_nothing_else_can(folder: Path, source: str) -> None:
    sources.store_upload("net.pt", b"weights")
    with pytest.raises(InputError) as error:
        sources.path_of(source)
    text = str(error.value)
    assert "/" not in text and len(text) < 200 and text.endswith(".")


def test_without_a_configured_folder_none_of_it_can_be_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANKSCOPE_MODELS")
    assert sources.models_folder() is None and sources.listed(sources.KINDS) == []
    with pytest.raises(InputError):
        sources.path_of("folder:a.safetensors")


def test_the_folder_lists_what_can_be_opened_with_size_and_format(folder: Path) -> None:
    assert sources.listed(sources.KINDS) == [
        ("folder:a.safetensors", "a.safetensors · 0.0 MB · safetensors"),
        ("folder:sharded", "sharded · sharded checkpoint"),
        ("folder:sub/b.PTH", "sub/b.PTH · 0.0 MB · pth"),
    ]
    assert sources.listed(sources.DATA_KINDS) == [
        ("folder:d.npz", "d.npz · 2.5 MB · npz"),
        ("folder:images", "images · folder"),
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../../evil.pt", "evil.pt"),
        ("..\\..\\evil.pt", "evil.pt"),
        ("/etc/passwd", "passwd"),
        ("..", "upload"),
        ("", "upload"),
        ("a\x00b\n.pt", "a?b?.pt"),
        ("C:net.pt", "net.pt"),
        ("ü" * 300 + ".pt", "ü" * 60 + "..." + "ü" * 14 + ".pt"),
        ("網" * 70 + ".pt", "upload.pt"),
        ("<img src=x>.pt", "<img src=x>.pt"),
    ],
)
def test_an_upload_stays_in_its_folder_whatever_it_is_called(bench: Any, tmp_path: Path, name: str, shown: str) -> None:
    source = sources.store_upload(name, b"content")
    kind, _, where = source.partition(":")
    digest, _, kept = where.partition("/")
    assert (kind, kept, len(digest)) == ("upload", shown, 16)
    assert Path(sources.path_of(source)).read_bytes() == b"content"
    inside = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.parent.parent for path in inside] == [sources.uploads()]
    assert sources.store_upload(name, b"content") == source
    assert sources.store_upload(name, b"other") != source


def test_uploads_do_not_pile_up(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "UPLOADS_MB", 0.001)
    stored = []
    for i in range(5):
        stored.append(sources.store_upload(f"{i}.pt", bytes([i]) * 400))
        os.utime(sources.uploads() / stored[-1][7:23], (i, i))
    kept = [source for source in stored if (sources.uploads() / source[7:]).exists()]
    assert kept == stored[-2:]


def test_an_upload_that_cannot_be_stored_is_one_sentence(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RANKSCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="could not be stored"):
        sources.store_upload("net.pt", b"x")
