"""The embedded demo networks: their names and the facts about them, read without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from core.errors import CheckpointError
from core.networks.arch import Arch

FOLDER = Path(__file__).resolve().parents[2] / "data"


@dataclass(frozen=True, slots=True)
class DemoInfo:
    """What is known of a demo network; stored beside its weights as NAME.json.

    label: what to show. arch: how to build it. data: the set it was trained and measured on. accuracy: fraction of the
    n test images. seed: of the training run. recipe: how it was trained, in one line. licence: of data and weights.
    sha256: of NAME.safetensors, 64 hexadecimal digits. nbytes: size of that file.
    """

    name: str
    label: str
    arch: Arch
    data: str
    accuracy: float
    n: int
    seed: int
    recipe: str
    licence: str
    sha256: str
    nbytes: int


def demo_names() -> tuple[str, ...]:
    """Names of the embedded demos, in alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors") if path.with_suffix(".json").is_file()))


def demo_path(name: str) -> Path:
    """The .safetensors file of a demo. Raises CheckpointError with the names that exist."""
    if name not in demo_names():
        raise CheckpointError(f"There is no demo called {name!r}; there are {', '.join(demo_names()) or 'none'}.")
    return FOLDER / f"{name}.safetensors"


def demo_info(name: str) -> DemoInfo:
    """The facts about a demo. Raises CheckpointError for an unknown name or a damaged file."""
    text = demo_path(name).with_suffix(".json").read_text(encoding="utf-8")
    try:
        fields = json.loads(text)
        return DemoInfo(**{**fields, "arch": Arch.from_json(json.dumps(fields["arch"]))})
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"The facts about the demo {name} are damaged; restore data/{name}.json.") from error
