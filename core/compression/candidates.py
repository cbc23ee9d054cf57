"""The candidates of one layer: the same layer in several levels of one family, ready to run on an input side by side.

A plain or fitted low rank is a projection of the layer's own outputs, A B = U_r U_rᵀ W (`numerics.whitening`), so that
its candidates cost one pass of the layer, one product with Uᵀ and a slice each. Any other form is built as it is
applied, its decomposition made once for all levels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.compression.fitting import Factors, fitted_each
from core.networks.forms import FAMILIES, Form
from core.networks.modules import matrix
from core.networks.views import CONVOLUTIONS, LayerView
from core.numerics.regression import Target
from core.numerics.svd import svd
from core.numerics.whitening import whiten

Affine = tuple[Tensor, Tensor] | None
"""(scale, shift) of a BatchNorm that was folded into the layer, by channel."""


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """One call of the layer: what its candidates are made of, and the squared norm of its own outputs without bias, for
    projections by column of z."""

    given: Tensor
    made: Tensor
    squares: Tensor


class Projections:
    """Low-rank candidates of a layer, as projections of its outputs on its first left singular vectors.

    U (m, k), those of W or of W seen through its inputs."""

    def __init__(
        self,
        layer: nn.Module,
        view: LayerView,
        U: Tensor,
        levels: Sequence[int],
        affine: Affine,
        layout: torch.memory_format,
    ) -> None:
        source: Any = layer
        self.levels = tuple(levels)
        self.channel = 1 if view.kind in CONVOLUTIONS else -1
        self.layout = layout if view.kind == "conv2d" else torch.contiguous_format
        self.bare: nn.Module = copy.deepcopy(layer)
        bias = source.bias.detach() if view.bias else U.new_zeros(view.m).to(source.weight.dtype)
        if view.bias:
            with torch.no_grad():
                nn.init.zeros_(self.bare.get_parameter("bias"))
        scale, shift = affine if affine is not None else (torch.ones_like(bias), torch.zeros_like(bias))
        self.U = U.to(bias)
        self.V = (self.U * scale[:, None]).mT.contiguous()
        self.bias = bias * scale + shift

    def read(self, given: Tensor) -> Read:
        """z = Uᵀ W x at every position, channels last. As U spans all of W, z has the norm of W x."""
        z = self.bare(given).movedim(self.channel, -1) @ self.U
        return Read(given, z, z.square().flatten(0, -2).sum(0).double())

    def outputs(self, read: Read, picks: Sequence[int], axis: int) -> Tensor:
        """Outputs of the candidates `picks`, (len(picks) * samples, ...) along `axis`."""
        z = read.made
        rows = z.flatten(0, -2)
        made = z.new_empty(len(picks), *z.shape[:-1], self.V.shape[1])
        for i, pick in enumerate(picks):
            r = self.levels[pick]
            torch.addmm(self.bias, rows[:, :r], self.V[:r], out=made[i].view(-1, self.V.shape[1]))
        stacked = made.movedim(0, axis).flatten(axis, axis + 1).movedim(-1, self.channel)
        return stacked.contiguous(memory_format=self.layout)

    def errors(self, read: Read, picks: Sequence[int]) -> Tensor:
        """(len(picks),) squared norm of what each candidate's outputs lack, float64; nothing cancels."""
        tails = torch.cat([read.squares.flip(0).cumsum(0).flip(0), read.squares.new_zeros(1)])
        return torch.stack([tails[self.levels[pick]] for pick in picks])


class Built:
    """Candidates of any family, as the modules that `apply` would put in the layer's place."""

    def __init__(self, layer: nn.Module, view: LayerView, modules: Sequence[nn.Module], affine: Affine) -> None:
        source: Any = layer
        self.layer, self.modules = layer, tuple(modules)
        self.channel = 1 if view.kind in CONVOLUTIONS else -1
        self.bias = source.bias.detach() if view.bias else None
        self.affine = tuple(self._by_channel(part, view) for part in affine) if affine is not None else None

    def read(self, given: Tensor) -> Read:
        """The layer's own outputs, bias and all."""
        made = self.layer(given)
        bare = made if self.bias is None else made.movedim(self.channel, -1) - self.bias
        return Read(given, made, torch.linalg.vector_norm(bare, dtype=torch.float64).square())

    def outputs(self, read: Read, picks: Sequence[int], axis: int) -> Tensor:
        """As `Projections.outputs`."""
        parts = [self.modules[pick](read.given) for pick in picks]
        if self.affine is not None:
            parts = [torch.addcmul(self.affine[1], part, self.affine[0]) for part in parts]
        return torch.cat(parts, axis)

    def errors(self, read: Read, picks: Sequence[int]) -> Tensor:
        """As `Projections.errors`, from the outputs themselves."""
        gaps = [self.modules[pick](read.given) - read.made for pick in picks]
        return torch.stack([torch.linalg.vector_norm(gap, dtype=torch.float64).square() for gap in gaps])

    def _by_channel(self, values: Tensor, view: LayerView) -> Tensor:
        return values.view(1, -1, *(1,) * len(view.kernel))


Candidates = Projections | Built


def candidates(
    layer: nn.Module,
    view: LayerView,
    family: str,
    levels: Sequence[int],
    goal: Target | None,
    affine: Affine = None,
    layout: torch.memory_format = torch.contiguous_format,
) -> Candidates:
    """The candidates of a layer at `levels` of a family: plain truncations, or fitted to `goal` where one is given.

    layout  of images in the network at hand."""
    if family == "lowrank":
        W = matrix(layer, view)
        U = svd(W)[0] if goal is None else whiten(goal.M, goal.G).U
        return Projections(layer, view, U, levels, affine, layout)
    return Built(layer, view, list(built(layer, view, family, levels, goal)), affine)


def built(
    layer: nn.Module, view: LayerView, family: str, levels: Sequence[int], goal: Target | None
) -> Iterator[nn.Module]:
    """The modules that `apply` would build at these levels, in evaluation, one decomposition for all."""
    forms = [FAMILIES[family].make(level, view) for level in levels]
    for form, factors in zip(forms, _factors(layer, view, forms, goal), strict=True):
        yield form.build(layer, view, factors).eval()


def _factors(layer: nn.Module, view: LayerView, forms: Sequence[Form], goal: Target | None) -> Iterator[Factors | None]:
    unfolding = FAMILIES[forms[0].family].unfolding
    if goal is not None:
        yield from fitted_each(forms, layer, view, goal)
    elif unfolding:
        W = matrix(layer, view, unfolding)
        U, S, Vh = svd(W)
        root = S.sqrt()
        for form in forms:
            r = form.level
            yield (U[:, :r] * root[:r]).to(W), (root[:r, None] * Vh[:r]).to(W)
    else:
        yield from (None for _ in forms)
