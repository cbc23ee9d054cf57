"""Bundles of low rank + sparse layers: the stored parts against a matrix product; every other promise is tested on them
too in `test_export`, whose networks have some."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from core import bundle_loader
from core.errors import CheckpointError
from core.export import read_bundle
from tests.core.test_export import export, sealed


def test_low_rank_and_sparse_by_hand_from_the_stored_parts(tmp_path):
    opened, _, _ = export(tmp_path / "b", "autoencoder:36-12-4")
    stored = load_file(tmp_path / "b" / "model.safetensors")
    A, B = stored["encoder.0.low_rank.second.weight"], stored["encoder.0.low_rank.first.weight"]
    S = stored["encoder.0.sparse.weight"]
    assert A.shape[1] == B.shape[0] == 4 and int(S.count_nonzero()) == 50
    x = torch.randn(5, 36)
    want = x @ (A @ B + S).T + stored["encoder.0.low_rank.second.bias"]
    read = bundle_loader.load(tmp_path / "b").get_submodule("encoder.0")
    with torch.no_grad():
        assert torch.allclose(read(x), want, atol=1e-5)
    W = opened.module.encoder[0].weight.detach()
    lost = [float((W - M).norm()) for M in (A @ B + S, A @ B, S)]
    assert lost[0] < min(lost[1:])


def test_a_sum_of_an_unknown_kind_is_named(tmp_path):
    export(tmp_path / "b", "autoencoder:36-12-4")

    def change(content):
        (entry,) = [entry for entry in content["layers"] if entry["layer"] == "encoder.0"]
        assert entry["kind"] == "Sum"
        entry["kind"] = "Product"

    sealed(tmp_path / "b", change)
    with pytest.raises(CheckpointError, match="'Product'"):
        read_bundle(tmp_path / "b")
