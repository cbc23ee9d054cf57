"""Small networks whose graphs are awkward: residual, branched, tied, in place, sequence first, untraceable. Written
without the product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Convolutions with BatchNorm beside a shortcut, written in place as torchvision does, and a flattened head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8 * 3 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        out += x
        out = F.max_pool2d(self.relu(out), 2)
        return self.head(out.view(x.size(0), -1))


class Branched(nn.Module):
    """Three ways from one input, joined by concatenation, one of them also scaling the others."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.b = nn.Conv2d(3, 4, (1, 3), padding=(0, 1))
        self.c = nn.Linear(3, 10)
        self.mix = nn.Conv2d(10, 7, 1)
        self.head = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.c(x.mean((2, 3))))
        joined = torch.cat([torch.relu(self.a(x)), F.gelu(self.b(x))], 1) * gate[:, :, None, None]
        return self.head(self.mix(joined).relu().amax((2, 3)))


class Twice(nn.Module):
    """One convolution used three times in a chain, with a sum over its own outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.shared(x))
        second = torch.tanh(self.shared(first)) + first
        return self.head((self.shared(second) + second).mean((2, 3)))


class SequenceFirst(nn.Module):
    """Tokens before samples, (T, N, d), and sizes read from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.inner = nn.Linear(8, 8)
        self.head = nn.Linear(8 * 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        N, T, _ = x.shape
        h = torch.relu(self.embed(x.transpose(0, 1)))
        h = h + self.inner(h)
        return self.head(h.transpose(0, 1).reshape(N, 8 * T))


class Pair(nn.Module):
    """Two layers, 6 to 8 to 4, for networks that differ in what they do between."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 8)
        self.b = nn.Linear(8, 4)


class Decides(Pair):
    """Which way it goes depends on the values: no trace exists."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.b(torch.relu(h) if h.sum() > -1e9 else -h)


class Mixes(Pair):
    """Takes the mean of the batch off, so samples are not apart."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        return self.b(h - h.mean(0))


class Writes(Pair):
    """Writes into a part of a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        h[:, 0] = 1.0
        return self.b(h)


class InPlace(nn.Module):
    """Values are changed in place, one of them after a layer has read it, and not read again under their old names."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 8)
        self.b = nn.Linear(8, 8)
        self.c = nn.Linear(8, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        g = self.b(h).mul_(2.0).relu_()
        g += self.relu(h)
        g *= 0.5
        return self.c(F.relu_(g - 0.2) + F.relu(g + 0.1, inplace=True))


class ReadTwice(nn.Module):
    """What a layer gives goes through a ReLU and past it, into a sum and past it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3)
        self.b = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        h = torch.relu(h) - 0.3 * h
        g = self.b(h)
        total = g + h
        return self.head((torch.relu(total) - 0.2 * total - 0.1 * g).mean((2, 3)))


class Aliased(nn.Module):
    """A value is changed in place and read again under its old name."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        old = h
        h.mul_(2.0).add_(1.0)
        return self.b(torch.relu(old))


class Waves(nn.Sequential):
    """One-dimensional convolution, its BatchNorm, and a head."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 6, 2), nn.Flatten(), nn.Linear(24, 5)
        )


def prepared(model: nn.Module) -> nn.Module:
    """In evaluation, with running statistics that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(7)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.copy_(0.3 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
            with torch.no_grad():
                module.weight.copy_(torch.randn(module.num_features, generator=generator))
                module.bias.copy_(0.3 * torch.randn(module.num_features, generator=generator))
    return model.eval()
