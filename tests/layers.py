"""Layers of every kind that a form can be asked to replace, with an input each, shared by tests of forms, modules and
plans. Written without the product: a layer, an input with a batch side of 1, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Conv1D(nn.Module):
    """What Hugging Face calls Conv1D: a linear layer whose weight is stored as (inputs, outputs)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.randn(nx, nf) / nx**0.5)
        self.bias = nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], self.nf)


class Wrapped(nn.Module):
    """A network of one layer, called `layer`, run `times` times on the same input."""

    def __init__(self, layer: nn.Module, times: int = 1) -> None:
        super().__init__()
        self.layer = layer
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.layer(x) for _ in range(self.times))


class Tied(nn.Module):
    """Tokens to scores over the same vocabulary with one matrix; `head_first` registers the head before the table."""

    def __init__(self, head_first: bool) -> None:
        super().__init__()
        names = ("head", "table") if head_first else ("table", "head")
        for name in names:
            setattr(self, name, nn.Embedding(10, 4) if name == "table" else nn.Linear(4, 10))
        self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x))


class Attends(nn.Module):
    """torch's packed attention of tokens among themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attn(x, x, x, need_weights=False)[0]
        return out


Case = tuple[Callable[[], nn.Module], tuple[int, ...]]

LAYERS: dict[str, Case] = {
    "linear": (lambda: nn.Linear(12, 8), (12,)),
    "linear, wide, no bias": (lambda: nn.Linear(20, 6, bias=False), (20,)),
    "linear on tokens": (lambda: nn.Linear(8, 16), (5, 8)),
    "Hugging Face Conv1D": (lambda: Conv1D(16, 8), (5, 8)),
    "conv 3 x 3": (lambda: nn.Conv2d(4, 8, 3, padding=1), (4, 7, 9)),
    "conv 3 x 3, stride 2": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), (4, 8, 8)),
    "conv, strides 2 and 1, no padding": (lambda: nn.Conv2d(4, 6, 3, stride=(2, 1)), (4, 9, 8)),
    "conv 3 x 5": (lambda: nn.Conv2d(4, 6, (3, 5), stride=(1, 2), padding=(0, 2)), (4, 7, 10)),
    "conv, dilated": (lambda: nn.Conv2d(4, 6, 3, dilation=(2, 1), padding=(2, 1)), (4, 9, 8)),
    "conv, same padding": (lambda: nn.Conv2d(4, 6, (3, 5), padding="same"), (4, 6, 7)),
    "conv, valid padding": (lambda: nn.Conv2d(4, 6, 3, padding="valid"), (4, 6, 7)),
    "conv, reflected": (lambda: nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="reflect"), (4, 6, 7)),
    "conv, circular": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (4, 6, 7)),
    "conv 1 x 1, stride 2": (lambda: nn.Conv2d(8, 6, 1, stride=2), (8, 6, 6)),
    "conv 1 x 3": (lambda: nn.Conv2d(4, 6, (1, 3), padding=(0, 1)), (4, 6, 6)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2), (4, 15)),
}
"""Name to a maker and the shape of one sample; all of them can be factorised."""


def torch_macs(model: nn.Module, sample: tuple[int, ...]) -> int:
    """Multiply-adds of one sample by torch's own counter, on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    ghost = model.to("meta")
    with FlopCounterMode(display=False) as counter:
        ghost(torch.zeros(1, *sample, device="meta", dtype=next(ghost.parameters()).dtype))
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def stored_numbers(model: nn.Module) -> int:
    """Entries of all parameters."""
    return sum(p.numel() for p in model.parameters())


def nonzero_numbers(model: nn.Module) -> int:
    """Entries of all parameters that are not zero."""
    return sum(int(p.count_nonzero()) for p in model.parameters())
