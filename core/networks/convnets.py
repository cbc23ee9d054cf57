"""Convolutional networks: a plain one with BatchNorm, CIFAR's residual networks and torchvision's ResNet-18."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def _conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)


class ConvNet(nn.Module):
    """x (N, in_channels, H, W) to logits (N, num_classes).

    Blocks `conv1`, `bn1`, `conv2`, ...: 3 x 3 convolution, BatchNorm, ReLU; 2 x 2 max-pooling after every second block
    (so H and W need at least 2 ** (blocks // 2)); then the mean over positions and a linear layer `fc`.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.num_blocks = len(widths)
        for i, width in enumerate(widths):
            self.add_module(f"conv{i + 1}", _conv3x3(widths[i - 1] if i else in_channels, width))
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(width))
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.num_blocks):
            x = F.relu(self.get_submodule(f"bn{i + 1}")(self.get_submodule(f"conv{i + 1}")(x)))
            if i % 2 == 1:
                x = F.max_pool2d(x, 2)
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class SubsampleShortcut(nn.Module):
    """Option A of He et al. 2015 (section 4.2): every stride-th pixel, and zero channels added; has no parameters.

    x (N, c, H, W) to (N, channels_out, ceil(H / stride), ceil(W / stride)). The zero channels are put in equal halves
    before and after the others, as in the public CIFAR checkpoints; an odd one goes after.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        if channels_out < channels_in:
            raise ValueError(f"a shortcut cannot drop channels: {channels_in} to {channels_out}")
        self.stride = stride
        self.before = (channels_out - channels_in) // 2
        self.after = channels_out - channels_in - self.before

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.after)) if self.before + self.after else x


class Block(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm beside a shortcut. Source: He et al. 2015, figure 2.

    x (N, channels_in, H, W) to (N, channels_out, ceil(H / stride), ceil(W / stride)). projection: where shapes
    differ, the shortcut is a 1 x 1 convolution with BatchNorm called `downsample` (option B); else it is option A.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels_in, channels_out, stride)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = _conv3x3(channels_out, channels_out)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = (
                nn.Sequential(
                    nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
                )
                if projection
                else SubsampleShortcut(channels_in, channels_out, stride)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


def _stage(channels_in: int, channels_out: int, blocks: int, stride: int, projection: bool) -> nn.Sequential:
    first = Block(channels_in, channels_out, stride, projection)
    return nn.Sequential(first, *(Block(channels_out, channels_out, 1, projection) for _ in range(blocks - 1)))


class CifarResNet(nn.Module):
    """x (N, in_channels, H, W) to logits (N, num_classes). Source: He et al. 2015, section 4.2.

    `conv1`, `bn1`; stages `layer1`, `layer2`, ... of `blocks[i]` blocks and `widths[i]` channels, each after the first
    halving H and W; mean over positions; `linear`. Widths (16, 32, 64) with n blocks each are ResNet-(6 n + 2).
    Widths must not fall.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], blocks: Sequence[int], num_classes: int) -> None:
        super().__init__()
        _check_stages(widths, blocks)
        self.num_stages = len(widths)
        self.conv1 = _conv3x3(in_channels, widths[0])
        self.bn1 = nn.BatchNorm2d(widths[0])
        for i, width in enumerate(widths):
            stage = _stage(widths[max(i - 1, 0)], width, blocks[i], 2 if i else 1, projection=False)
            self.add_module(f"layer{i + 1}", stage)
        self.linear = nn.Linear(widths[-1], num_classes)
        _he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for i in range(self.num_stages):
            x = self.get_submodule(f"layer{i + 1}")(x)
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


class ResNet18(nn.Module):
    """x (N, in_channels, H, W) to logits (N, num_classes), with torchvision's names and projection shortcuts.

    stem 3: a 3 x 3 `conv1` of stride 1 and no pooling (for 32 x 32 images); stem 7: ImageNet's 7 x 7 of stride 2 with
    max-pooling. blocks (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) is ResNet-34. Source: He et al. 2015, table 1.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], blocks: Sequence[int], stem: int, num_classes: int
    ) -> None:
        super().__init__()
        _check_stages(widths, blocks)
        if stem not in (3, 7):
            raise ValueError(f"the stem is 3 or 7 pixels wide, got {stem}")
        self.num_stages, self.stem = len(widths), stem
        stride = 1 if stem == 3 else 2
        self.conv1 = nn.Conv2d(in_channels, widths[0], stem, stride=stride, padding=stem // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        for i, width in enumerate(widths):
            stage = _stage(widths[max(i - 1, 0)], width, blocks[i], 2 if i else 1, projection=True)
            self.add_module(f"layer{i + 1}", stage)
        self.fc = nn.Linear(widths[-1], num_classes)
        _he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        if self.stem == 7:
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        for i in range(self.num_stages):
            x = self.get_submodule(f"layer{i + 1}")(x)
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def _check_stages(widths: Sequence[int], blocks: Sequence[int]) -> None:
    if len(widths) != len(blocks):
        raise ValueError(f"{len(widths)} widths {tuple(widths)} need as many block counts, got {tuple(blocks)}")


def _he_init(network: nn.Module) -> None:
    """Convolutions start normal with variance 2 / fan-out. Source: He et al. 2015b, section 2.2, backward case."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
