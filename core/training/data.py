"""Labelled images: open a source by name or path, then take a seeded part of its training or test images.

Importing this file imports no torch; `Data.split` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from core.errors import DataError
from core.networks.arch import Arch
from core.networks.wording import display_name
from core.networks.zoo import accepts
from core.training.splits import stratified

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Data", "DataRef", "check_fits", "open_data"]

Which = Literal["train", "test"]

SIZED = ("convnet", "resnet", "resnet18")
"""Networks of which the weights do not tell the size of the images."""

FORMS = "digits, a folder of MNIST-style idx files, an .npz with x and y, or a folder or tar of class folders of images"


@dataclass(frozen=True, slots=True)
class DataRef:
    """Which data are in hand. source: "digits", "file" or "folder"; never a path. name: what to show.

    digest: 64 hexadecimal digits; of the content, for a folder of images of the files' names, sizes and times.
    """

    source: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Data:
    """A labelled set of images, of which only labels are in memory until `split` is called.

    classes: names; label i means classes[i]. named: whether the source itself names them, so that none can be missing.
    input_shape: (C, H, W). notes: what was assumed, in words.
    labels: (N,) int64 over all images. rows: for "train" and "test" the indices of their images, in file order.
    read: indices (n,) to images (n, C, H, W), uint8 or float32 in [0, 1].
    """

    ref: DataRef
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    labels: Any = field(repr=False, compare=False)
    rows: dict[str, Any] = field(repr=False, compare=False)
    read: Callable[[Any], Any] = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()
    named: bool = False

    def size(self, which: Which) -> int:
        """How many images that split has."""
        return len(self.rows[which])

    def split(self, which: Which, limit: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
        """x (n, C, H, W) float32 in [0, 1] and y (n,) int64 of the training or test images.

        limit None: all, in file order; else the first `limit` of a permutation drawn from `seed`, so a smaller
        limit is a part of a larger one. Only these images are decoded. Raises DataError when the split is empty or
        an image is broken, ValueError for a limit below 1 or another split.
        """
        import torch

        if which not in self.rows or (limit is not None and limit < 1):
            raise ValueError(f"a split is train or test and a limit at least 1, got {which!r} and {limit}")
        rows = self.rows[which]
        if len(rows) == 0:
            raise DataError(f"{self.ref.name} has no {which} images; open data that have some.")
        if limit is not None and limit < len(rows):
            rows = rows[np.random.RandomState(seed).permutation(len(rows))[:limit]]
        images = self.read(rows)
        x = torch.from_numpy(np.array(images))  # a copy: the images may be mapped read-only
        x = x.to(torch.float32) / 255 if x.dtype == torch.uint8 else x.to(torch.float32)
        return x, torch.from_numpy(np.asarray(self.labels[rows], dtype=np.int64))


def open_data(source: str | Path) -> Data:
    """Open "digits" or a path; see FORMS for what a path may be. Write ./digits for a folder of that name.

    Raises DataError, one sentence that names the file without its folder and says what to do next.
    """
    from core.training import arrays, image_sets

    if source == "digits":
        return _digits()
    path = Path(source)
    name = display_name(path)
    try:
        if path.is_dir():
            return arrays.open_idx(path, name) if arrays.is_idx(path) else image_sets.open_folder(path, name)
        if not path.exists():
            raise DataError(f"There is no data called {name!r}; open {FORMS}.")
        if not path.is_file():
            raise DataError(f"{name} is not a regular file; open {FORMS}.")
        with path.open("rb") as file:
            lead = file.read(8)
        if not lead:
            raise DataError(f"{name} is empty; copy or download it again.")
        if lead[:2] == b"PK":
            return arrays.open_npz(path, name)
        return image_sets.open_tar(path, name)
    except (OSError, ValueError) as error:
        raise DataError(f"{name} cannot be read; open {FORMS}.") from error


def check_fits(data: Data, arch: Arch) -> None:
    """Raises DataError when the images or the classes do not fit the network.

    Images must have the shape the network was made for: another size may run through it, and the answers mean nothing.
    Data that do not name their classes may have fewer than the network has outputs: a small sample can miss some."""
    if not _same_shape(data, arch):
        raise DataError(
            f"The images of {data.ref.name} have shape {data.input_shape}, {arch.label} takes {arch.input_shape}; open "
            f"other data or another model{_size_hint(data, arch)}."
        )
    if arch.num_classes == 0:
        return
    if len(data.classes) > arch.num_classes or (data.named and len(data.classes) < arch.num_classes):
        raise DataError(
            f"{data.ref.name} has {len(data.classes)} classes, {arch.label} tells {arch.num_classes} apart; open other "
            "data or another model."
        )


def _same_shape(data: Data, arch: Arch) -> bool:
    """Whether the images are what the network takes. A perceptron of a row of numbers takes any image of as many."""
    row = arch.name in ("mlp", "autoencoder") and arch.input_shape[:-1] == (1, 1)
    return data.input_shape == arch.input_shape or (row and accepts(arch, data.input_shape))


def _size_hint(data: Data, arch: Arch) -> str:
    """What else can be done where only the size is in the way, which the weights of such a network do not tell."""
    side = data.input_shape[1]
    if arch.name not in SIZED or not accepts(arch, data.input_shape) or data.input_shape[2] != side:
        return ""
    return f", or name its network with --arch and size={side} if it was trained on such images"


def _digits() -> Data:
    """The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels of 0 to 16; 1,297 to train and 500 to test on."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = (bunch.images[:, None] / 16).astype(np.float32)
    y = bunch.target.astype(np.int64)
    train, test = stratified(y, 500)
    digest = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    ref = DataRef("digits", "digits", digest)
    classes = tuple(str(i) for i in range(10))
    return Data(ref, classes, (1, 8, 8), y, {"train": train, "test": test}, lambda rows: x[rows])
