"""Networks of fully connected layers: a ReLU perceptron and an autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """x (N, ...), flattened to (N, widths[0]); `fc1`, `fc2`, ... with a ReLU between them; logits (N, widths[-1])."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(f"a perceptron needs at least an input and an output width, got {tuple(widths)}")
        self.num_layers = len(widths) - 1
        for i in range(self.num_layers):
            self.add_module(f"fc{i + 1}", nn.Linear(widths[i], widths[i + 1]))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for i in range(self.num_layers):
            x = self.get_submodule(f"fc{i + 1}")(x)
            if i + 1 < self.num_layers:
                x = F.relu(x)
        return x


class Autoencoder(nn.Module):
    """x (N, ...) to a reconstruction of the same shape; `encoder.0`, `encoder.2`, ... and a mirrored `decoder`.

    widths: from the input down to the code. ReLU between layers; the code and the reconstruction are linear.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(f"an autoencoder needs at least an input and a code width, got {tuple(widths)}")
        self.encoder = _stack(widths)
        self.decoder = _stack(widths[::-1])

    def forward(self, x: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(self.encoder(x.flatten(1)))
        return reconstruction.reshape(x.shape)


def _stack(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(len(widths) - 1):
        layers += [nn.ReLU()] if layers else []
        layers.append(nn.Linear(widths[i], widths[i + 1]))
    return nn.Sequential(*layers)
