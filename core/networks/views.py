"""What is known of a layer without its weights. Importable without torch; `inspection` fills these records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

CONVOLUTIONS = ("conv1d", "conv2d")
LINEAR = ("linear", "hf_conv1d")


@dataclass(frozen=True, slots=True)
class LayerView:
    """One layer that holds a weight matrix W (m, n), y = W x + b.

    name       path of the module; packed attention projections are "path.in_proj".
    kind       "linear", "hf_conv1d" (Hugging Face's Conv1D: a linear layer stored transposed), "conv1d", "conv2d",
               "in_proj" (packed query, key and value of nn.MultiheadAttention), "embedding" or "other".
    m, n       outputs and inputs of the matrix; for a convolution o and c*kh*kw, both per group.
    positions  times the matrix is applied to one sample: 1, tokens, or H'*W'. 0: unknown, nothing was run.
    kernel, stride, padding, dilation, in_size, out_size   of a convolution, one entry a spatial side.
    groups     independent matrices of shape (m, n).
    bias       whether there is one, of groups*m entries.
    tied_to    name of an earlier layer that holds the same weight, "" if none.
    itemsize   bytes a stored value takes.
    finite     False when the weight holds NaN or infinity; such a layer is kept out of every number.
    blocked    why the layer cannot be exchanged although its kind could, "" if it can.
    """

    name: str
    kind: str
    m: int
    n: int
    positions: int = 0
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    in_size: tuple[int, ...] = ()
    out_size: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = False
    tied_to: str = ""
    itemsize: int = 4
    finite: bool = True
    blocked: str = ""

    @property
    def size(self) -> int:
        """Entries of the weight, all groups."""
        return self.groups * self.m * self.n

    @property
    def num_bias(self) -> int:
        """Entries of the bias, 0 without one."""
        return self.groups * self.m if self.bias else 0

    @property
    def channels_in(self) -> int:
        """Input channels of one group: n without the kernel sides."""
        return self.n // math.prod(self.kernel)

    @property
    def shape_text(self) -> str:
        """The shape as people write it: "64 × 128", "32 → 64, 3 × 3, stride 2"."""
        if self.kind not in CONVOLUTIONS:
            return f"{self.m} × {self.n}"
        text = f"{self.groups * self.channels_in} → {self.groups * self.m}, {' × '.join(map(str, self.kernel))}"
        if set(self.stride) - {1}:
            text += f", stride {self.stride[0]}"
        return text + (f", {self.groups} groups" if self.groups > 1 else "")


def views(model: nn.Module, example: Tensor | None = None) -> tuple[LayerView, ...]:
    """Every layer of `model` that holds a weight of two or more dimensions, in the order of first use.

    example  an input with a batch side of 1, from which sizes and positions are read in one pass. None: positions are 0
             and the order is that of the modules. The model is not touched. Raises what the model raises when the
             example does not fit it.
    """
    from core.networks import inspection

    return inspection.layer_views(model, example)
