"""LayerView's derived numbers, and views() as the public door."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from core.networks.views import LayerView, views

ROOT = Path(__file__).resolve().parents[3]


def test_sizes_of_a_grouped_convolution() -> None:
    view = LayerView("c", "conv2d", m=4, n=18, kernel=(3, 3), stride=(1, 1), groups=3, bias=True)
    layer = nn.Conv2d(6, 12, 3, groups=3)
    assert view.size == layer.weight.numel()
    assert view.num_bias == layer.bias.numel()
    assert view.channels_in == layer.weight.shape[1]
    assert view.shape_text == "6 → 12, 3 × 3, 3 groups"


def test_shapes_read_as_people_write_them() -> None:
    assert LayerView("f", "linear", 64, 128).shape_text == "64 × 128"
    strided = LayerView("c", "conv2d", 64, 288, kernel=(3, 3), stride=(2, 2))
    assert strided.shape_text == "32 → 64, 3 × 3, stride 2"
    assert LayerView("c", "conv1d", 6, 12, kernel=(3,), stride=(1,)).shape_text == "4 → 6, 3"


def test_without_an_example_positions_are_unknown_and_nothing_is_run() -> None:
    class Refuses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("it was run")

    (view,) = views(Refuses())
    assert (view.name, view.kind, view.m, view.n, view.positions, view.bias) == ("fc", "linear", 2, 3, 0, True)


def test_views_needs_no_torch_to_be_imported() -> None:
    code = "import sys; from core.networks import views; assert callable(views); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
