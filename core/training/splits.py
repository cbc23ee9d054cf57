"""Fixed divisions into training and test rows."""

from __future__ import annotations

from typing import Any

import numpy as np


def stratified(labels: Any, num_test: int, seed: int = 0) -> tuple[Any, Any]:
    """Sorted indices (train, test) in which every class has its share of `num_test` test rows.

    labels: (N,). Each class gives the floor of its share; the classes with the largest remainders give one more.
    Deterministic: NumPy's frozen RandomState(seed).
    """
    labels = np.asarray(labels)
    random = np.random.RandomState(seed)
    values, counts = np.unique(labels, return_counts=True)
    shares = counts * num_test / len(labels)
    take = np.floor(shares).astype(int)
    largest = np.argsort(-(shares - take), kind="stable")
    take[largest[: num_test - take.sum()]] += 1
    chosen = [random.permutation(np.flatnonzero(labels == v))[:number] for v, number in zip(values, take, strict=True)]
    test = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), test), test
