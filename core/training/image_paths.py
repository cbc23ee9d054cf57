"""What the paths of an image set say: SPLIT/CLASS/*.jpg or CLASS/*.png, perhaps below folders that hold everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import DataError
from core.training.splits import stratified

SUFFIXES = (".jpg", ".jpeg", ".png")
TRAIN, TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")
"""Folder names that are splits; of several the first in this order is used."""


@dataclass(frozen=True, slots=True)
class Layout:
    """paths: of the images used, in order. classes: names. labels: (len(paths),) int64. train, test: indices of paths.

    places: the index of each in the list that was given. notes: what was assumed or ignored, in words.
    """

    paths: tuple[str, ...]
    places: Any
    classes: tuple[str, ...]
    labels: Any
    train: Any
    test: Any
    notes: tuple[str, ...]


def layout(paths: list[str], name: str) -> Layout:
    """Classes, labels and splits from relative paths with / between parts.

    `places` of the result are the indices into `paths` of the images used. Without split folders a fifth of each class,
    drawn with seed 0, is the test set. Raises DataError, with `name` for the set, when no path is an image in a
    class folder.
    """
    parts = [(i, path.split("/")) for i, path in enumerate(paths) if path.lower().endswith(SUFFIXES)]
    while parts and _has_wrapper([p for _, p in parts]):
        parts = [(i, p[1:]) for i, p in parts]
    tops = {p[0].lower() for _, p in parts if len(p) > 2}
    train_name = next((top for top in TRAIN if top in tops), None)
    test_name = next((top for top in TEST if top in tops), None)
    if train_name is not None or (test_name is not None and tops <= set(TRAIN + TEST)):
        used = [(i, p[1], p[0].lower()) for i, p in parts if len(p) > 2 and p[0].lower() in (train_name, test_name)]
    else:
        test_name = None
        used = [(i, p[0], "") for i, p in parts if len(p) > 1]
    if not used:
        raise DataError(f"{name} holds no .jpg or .png images in class folders; arrange them as CLASS/image.png.")
    classes = tuple(sorted({label for _, label, _ in used}, key=_natural))
    number = {label: i for i, label in enumerate(classes)}
    labels = np.array([number[label] for _, label, _ in used], dtype=np.int64)
    is_test = np.array([top == test_name for _, _, top in used])
    notes = [f"{len(parts) - len(used)} images outside the folders used were ignored"] if len(used) < len(parts) else []
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    if test_name is None:
        train, test = stratified(labels, max(1, len(labels) // 5))
        notes.append("no test folder: a fifth of each class was set aside for testing, with seed 0")
    places = np.array([i for i, _, _ in used])
    return Layout(tuple(paths[i] for i in places), places, classes, labels, train, test, tuple(notes))


def _has_wrapper(parts: list[list[str]]) -> bool:
    """Whether one folder, which is no split, holds everything and class folders still lie below it."""
    return min(map(len, parts)) > 2 and len({p[0] for p in parts}) == 1 and parts[0][0].lower() not in TRAIN + TEST


def _natural(text: str) -> tuple[int, int, str]:
    return (0, int(text), text) if text.isdecimal() and text.isascii() else (1, 0, text)


def short(path: str) -> str:
    """The last two parts of a path inside a set, without control characters: fit for any message."""
    return "".join(c if c.isprintable() else "?" for c in "/".join(path.split("/")[-2:]))
