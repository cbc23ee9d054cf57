"""The built-in networks: from an Arch to a module, and from the names and shapes of a state dict to an Arch.

Importing this file imports no torch; `build` does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from core.networks.arch import DEEPEST, LARGEST, Arch, ModelRef, make_arch, parse_arch

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Arch", "ModelRef", "accepts", "build", "expected_shapes", "make_arch", "parse_arch", "recognize"]

Shapes = Mapping[str, tuple[int, ...]]


def build(arch: Arch) -> nn.Module:
    """A fresh network. Its weights come from torch's global generator, so torch.manual_seed decides them.

    Raises ValueError when the options contradict each other (e.g. a transformer width that is no multiple of 16).
    """
    from core.networks.convnets import CifarResNet, ConvNet, ResNet18
    from core.networks.perceptrons import MLP, Autoencoder
    from core.networks.transformer import VisionTransformer

    makers: dict[str, Callable[..., nn.Module]] = {
        "mlp": MLP,
        "convnet": ConvNet,
        "resnet": CifarResNet,
        "resnet18": ResNet18,
        "autoencoder": Autoencoder,
        "transformer": VisionTransformer,
    }
    return makers[arch.name](**dict(arch.options))


def expected_shapes(arch: Arch) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's state dict, found without memory on the meta device. Raises as `build`."""
    import torch

    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build(arch).state_dict().items()}


def accepts(arch: Arch, shape: tuple[int, ...]) -> bool:
    """Whether one sample of this shape can go through the network.

    Perceptrons need the number of values; the transformer its own shape; the networks that end in a mean over positions
    need the channels and enough pixels to halve.
    """
    if arch.name in ("mlp", "autoencoder"):
        return bool(math.prod(shape) == arch.option("widths")[0])
    if arch.name == "transformer" or len(shape) != 3:
        return shape == arch.input_shape
    least = 2 ** (len(arch.option("widths")) // 2) if arch.name == "convnet" else 1
    return bool(shape[0] == arch.option("in_channels") and min(shape[1:]) >= least)


def recognize(shapes: Shapes) -> Arch | None:
    """The Arch whose state dict has exactly these names and shapes, or None.

    shapes: name to shape. BatchNorm's `num_batches_tracked` may be missing. What shapes cannot say is filled in by
    `make_arch`: size of the images, normalisation; perceptrons are taken to use ReLU.
    """
    if (
        not shapes
        or len(shapes) > 64 * DEEPEST
        or any(size > LARGEST**2 for shape in shapes.values() for size in shape)
    ):
        return None
    for guess in (_mlp, _convnet, _resnet, _resnet18, _autoencoder, _transformer):
        try:
            arch = guess(shapes)
            if _without_counters(expected_shapes(arch)) == _without_counters(shapes):
                return arch
        except (KeyError, ValueError, IndexError):  # a name, a length or a width that this family cannot have
            continue
    return None


def _without_counters(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in shapes.items() if not name.endswith(".num_batches_tracked")}


def _count(shapes: Shapes, pattern: str) -> int:
    """How many consecutive i, from 0 or else from 1, name an entry when put into the pattern's {}."""
    first = 0 if pattern.format(0) in shapes else 1
    i = first
    while pattern.format(i) in shapes:
        i += 1
    return i - first


def _mlp(shapes: Shapes) -> Arch:
    weights = [shapes[f"fc{i + 1}.weight"] for i in range(_count(shapes, "fc{}.weight"))]
    return make_arch("mlp", {"widths": (weights[0][1], *(shape[0] for shape in weights))})


def _autoencoder(shapes: Shapes) -> Arch:
    indices = sorted(int(found[1]) for name in shapes if (found := re.fullmatch(r"encoder\.(\d{1,4})\.weight", name)))
    weights = [shapes[f"encoder.{i}.weight"] for i in indices]
    return make_arch("autoencoder", {"widths": (weights[0][1], *(shape[0] for shape in weights))})


def _convnet(shapes: Shapes) -> Arch:
    kernels = [shapes[f"conv{i + 1}.weight"] for i in range(_count(shapes, "conv{}.weight"))]
    widths = tuple(kernel[0] for kernel in kernels)
    return make_arch(
        "convnet",
        {"in_channels": kernels[0][1], "widths": widths, "num_classes": shapes["fc.weight"][0]},
    )


def _stages(shapes: Shapes) -> dict[str, Any]:
    num_stages = _count(shapes, "layer{}.0.conv1.weight")
    return {
        "in_channels": shapes["conv1.weight"][1],
        "widths": tuple(shapes[f"layer{i + 1}.0.conv1.weight"][0] for i in range(num_stages)),
        "blocks": tuple(_count(shapes, f"layer{i + 1}.{{}}.conv1.weight") for i in range(num_stages)),
    }


def _resnet(shapes: Shapes) -> Arch:
    return make_arch("resnet", {**_stages(shapes), "num_classes": shapes["linear.weight"][0]})


def _resnet18(shapes: Shapes) -> Arch:
    options = {"stem": shapes["conv1.weight"][2], "num_classes": shapes["fc.weight"][0]}
    return make_arch("resnet18", {**_stages(shapes), **options})


def _transformer(shapes: Shapes) -> Arch:
    dim, patch_values = shapes["embed.weight"]
    in_channels = 1 if math.isqrt(patch_values) ** 2 == patch_values else 3
    patch = math.isqrt(patch_values // in_channels)
    options = {
        "in_channels": in_channels,
        "size": patch * math.isqrt(shapes["pos_embed"][1]),
        "patch": patch,
        "dim": dim,
        "depth": _count(shapes, "blocks.{}.attn.qkv.weight"),
        "hidden": shapes["blocks.0.mlp.fc1.weight"][0],
        "num_classes": shapes["head.weight"][0],
    }
    return make_arch("transformer", options)
