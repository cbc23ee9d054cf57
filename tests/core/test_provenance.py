"""A number carries the conditions of this very process, without importing anything heavy for it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest

from core import __version__, provenance
from core.keys import key
from core.provenance import Measurement, here

ROOT = Path(__file__).resolve().parents[2]


def test_here_is_now_and_with_these_versions() -> None:
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    made = here("of a test", "cpu", 3)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}Z", made.date)
    assert before <= datetime.strptime(made.date, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert made.versions[:2] == (f"rankscope {__version__}", f"python {platform.python_version()}")
    assert f"torch {metadata.version('torch')}" in made.versions
    assert f"numpy {metadata.version('numpy')}" in made.versions
    assert (made.conditions, made.device, made.threads) == ("of a test", "cpu", 3)


def test_without_a_number_of_threads_it_is_that_of_the_machine() -> None:
    assert here().threads == os.cpu_count()


def test_a_package_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package-as-this"))
    assert len(here().versions) == 3


def test_a_measurement_can_be_a_key() -> None:
    one = Measurement("accuracy", 0.5, 0.1, 10, 0, here("a"))
    other = Measurement("accuracy", 0.5, 0.1, 10, 0, here("b"))
    assert key(one) != key(other) and one == Measurement("accuracy", 0.5, 0.1, 10, 0, one.provenance)


def test_versions_are_told_without_importing_the_packages() -> None:
    code = "import sys; from core.provenance import here; here(); sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_the_line_of_an_export_says_when_and_with_what() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ, rankscope .*python .*torch .*numpy .*", provenance.line())


def git(folder: Path, *words: str) -> str:
    """What git itself answers there, with an identity of its own and nothing of this machine's settings."""
    names = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    alone = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **names}
    told = subprocess.run(["git", "-C", str(folder), *words], env=alone, capture_output=True, text=True, check=True)
    return told.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit of one file, and a tag that must not be taken for its name."""
    if shutil.which("git") is None:
        pytest.skip("git is not on the path")
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    git(tmp_path, "tag", "-a", "v1", "-m", "a tag")
    return tmp_path


def test_the_revision_is_that_of_the_last_commit(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert provenance._revision_of(checkout) == commit[:12]
    (checkout / "untracked").write_text("two")
    assert provenance._revision_of(checkout) == commit[:12]
    (checkout / "file").write_text("three")
    assert provenance._revision_of(checkout) == f"{commit[:12]}+changes"
    git(checkout, "commit", "-q", "-a", "-m", "second")
    assert provenance._revision_of(checkout) == git(checkout, "rev-parse", "HEAD")[:12] != commit[:12]


def test_no_revision_outside_a_checkout_of_its_own(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = checkout / "site-packages"
    inside.mkdir()
    assert provenance._revision_of(inside) == "", "that is the revision of another project"
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    assert provenance._revision_of(inside) == ""


def test_the_variables_of_a_git_hook_do_not_mislead(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = provenance._revision_of(checkout)
    monkeypatch.setenv("GIT_DIR", "nowhere")
    assert provenance._revision_of(checkout) == expected != ""


@pytest.mark.parametrize("broken", ["no git", "no commit", "damaged", "slow"])
def test_a_revision_never_raises(broken: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken == "no git":
        monkeypatch.setenv("PATH", str(checkout))
    elif broken == "slow":
        late = subprocess.TimeoutExpired("git", 10)
        monkeypatch.setattr(provenance.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(late))
    else:
        shutil.rmtree(checkout / ".git")
        if broken == "no commit":
            git(checkout, "init", "-q")
        else:
            (checkout / ".git").write_text("gitdir: nowhere")
    assert provenance._revision_of(checkout) == ""


def test_the_revision_of_this_checkout_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = provenance.revision()
    assert bool(told) == ((ROOT / ".git").exists() and shutil.which("git") is not None)
    assert not told or re.fullmatch(r"[0-9a-f]{12,40}(\+changes)?", told)
    monkeypatch.setattr(provenance, "_revision_of", lambda _: "asked again")
    assert provenance.revision() == told
