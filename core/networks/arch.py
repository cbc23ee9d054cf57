"""Arch and ModelRef: what a built-in network is, and which weights are in hand, as plain records. Imports no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import CheckpointError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel, of inputs in [0, 1]. Source: the values torchvision documents for its ImageNet models; the public CIFAR
ResNets of akamaster/pytorch_resnet_cifar10 were trained with the same ones."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "mlp": ("widths",),
    "convnet": ("in_channels", "widths", "num_classes"),
    "resnet": ("in_channels", "widths", "blocks", "num_classes"),
    "resnet18": ("in_channels", "widths", "blocks", "stem", "num_classes"),
    "autoencoder": ("widths",),
    "transformer": ("in_channels", "size", "patch", "dim", "depth", "hidden", "num_classes"),
}
"""Every family and the options it takes, all of them: integers, or tuples of integers (`widths`, `blocks`)."""

LARGEST = 65536
DEEPEST = 512
"""Bounds on any option and on the length of a tuple; chosen so that damaged metadata cannot ask for absurd networks."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which weights are in hand: where they came from, what to call them, and their content.

    source: "demo", "file", "folder" or "user code"; never a path. name: what to show.
    digest: 64 hexadecimal digits over names, shapes, dtypes and bytes (`checkpoints.digest_of`).
    """

    source: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a network takes: the shape of one sample, and mean and std per channel of inputs in [0, 1].

    For networks of the user's own; a built-in one says it in its Arch."""

    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Arch:
    """A built-in network without its weights.

    name: a family of `OPTIONS`. options: sorted (name, value) pairs. input_shape: of one sample, e.g. (3, 32, 32).
    mean, std: per channel, of inputs in [0, 1]; the network expects (x - mean) / std. num_classes: 0 for autoencoders.
    Raises ValueError when the family, an option or a length is wrong.
    """

    name: str
    options: tuple[tuple[str, Any], ...]
    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int

    def __post_init__(self) -> None:
        if self.name not in OPTIONS:
            raise ValueError(f"unknown family {self.name!r}; known are {', '.join(OPTIONS)}")
        given = tuple(key for key, _ in self.options)
        if given != tuple(sorted(OPTIONS[self.name])):
            raise ValueError(f"{self.name} takes the options {sorted(OPTIONS[self.name])}, got {list(given)}")
        for key, value in self.options:
            _check_option(key, value)
        if self.name in ("mlp", "autoencoder") and len(self.option("widths")) < 2:
            raise ValueError(f"{self.name} needs at least two widths, got {self.option('widths')}")
        if not self.input_shape or any(not _is_size(size) for size in self.input_shape):
            raise ValueError(f"input shape {self.input_shape} is not made of positive integers")
        if not len(self.mean) == len(self.std) == self.input_shape[0]:
            raise ValueError(f"mean {self.mean} and std {self.std} need one value per channel of {self.input_shape}")
        if not all(math.isfinite(value) for value in self.mean + self.std) or min(self.std) <= 0:
            raise ValueError(f"mean {self.mean} must be finite and std {self.std} positive")

    def option(self, name: str) -> Any:
        """The value of one option. Raises KeyError for a name the family does not take."""
        return dict(self.options)[name]

    @property
    def label(self) -> str:
        """What to call it in a sentence, e.g. "ResNet-20" or "MLP 64-128-10"."""
        match self.name:
            case "mlp":
                return "MLP " + "-".join(map(str, self.option("widths")))
            case "autoencoder":
                return "autoencoder " + "-".join(map(str, self.option("widths")))
            case "convnet":
                return "ConvNet " + "-".join(map(str, self.option("widths")))
            case "resnet":
                label = f"ResNet-{2 * sum(self.option('blocks')) + 2}"
                standard = self.option("widths") == (16, 32, 64)
                return label if standard else label + " of widths " + "-".join(map(str, self.option("widths")))
            case "resnet18":
                return f"ResNet-{2 * sum(self.option('blocks')) + 2}, torchvision's names"
        return f"vision transformer, {self.option('depth')} blocks of width {self.option('dim')}"

    def to_json(self) -> str:
        """One line of JSON that `from_json` turns back into an equal record."""
        fields = {
            "name": self.name,
            "options": dict(self.options),
            "input_shape": self.input_shape,
            "mean": self.mean,
            "std": self.std,
            "num_classes": self.num_classes,
        }
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Arch:
        """The inverse of `to_json`. Raises CheckpointError when the text is not such a description."""
        try:
            fields = json.loads(text)
            return cls(
                name=fields["name"],
                options=_options(fields["options"]),
                input_shape=tuple(fields["input_shape"]),
                mean=tuple(float(value) for value in fields["mean"]),
                std=tuple(float(value) for value in fields["std"]),
                num_classes=int(fields["num_classes"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                "The description of the network is damaged; name the network with --arch instead."
            ) from error


def make_arch(
    family: str,
    options: Mapping[str, Any],
    input_shape: tuple[int, ...] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Arch:
    """An Arch with what follows from its options filled in: sample shape, class count and normalisation.

    Defaults: networks of three channels from the residual families get ImageNet's mean and deviation, all others 0
    and 1; a sample is square, 32 pixels wide for three channels and 8 (digits) for one.
    Raises ValueError as `Arch` does.
    """
    pairs = _options(options)
    given = dict(pairs)
    shape = input_shape or _default_shape(family, given)
    residual = family in ("resnet", "resnet18") and shape[0] == 3
    classes = given["widths"][-1] if family == "mlp" else given.get("num_classes", 0)
    return Arch(
        name=family,
        options=pairs,
        input_shape=shape,
        mean=mean or (IMAGENET_MEAN if residual else (0.0,) * shape[0]),
        std=std or (IMAGENET_STD if residual else (1.0,) * shape[0]),
        num_classes=classes,
    )


def parse_arch(text: str) -> Arch:
    """The Arch named by a short text, as given to --arch.

    `mlp:64-128-10`, `autoencoder:64-32-8` (mirrored), `convnet:1-16-32-10` (channels, widths, classes; with the size
    of its images `convnet:1-16-32-10,size=28`), `resnet20` (also 32, 44, 56 and every 6 n + 2), `resnet18`,
    `transformer`; the last three take options after a colon: `resnet20:classes=100,channels=1,width=8,size=28`,
    `resnet18:stem=7,size=224,classes=1000`,
    `transformer:size=8,patch=2,channels=1,dim=64,depth=4,hidden=128,classes=10`.
    Raises CheckpointError with the forms that are understood.
    """
    family, _, rest = text.strip().partition(":")
    try:
        if family in ("mlp", "autoencoder", "convnet"):
            widths, sized, side = rest.partition(",size=") if family == "convnet" else (rest, "", "")
            sizes = tuple(int(part) for part in widths.split("-"))
            if family == "convnet":
                options = {"in_channels": sizes[0], "widths": sizes[1:-1], "num_classes": sizes[-1]}
                return make_arch(family, options, _square(sizes[0], int(side)) if sized else None)
            return make_arch(family, {"widths": sizes})
        pairs = dict(part.split("=") for part in rest.split(",")) if rest else {}
        given = {key: int(value) for key, value in pairs.items()}
        return _parse_with_options(family, given)
    except (ValueError, IndexError, KeyError) as error:
        raise CheckpointError(
            f"The architecture {text!r} is not understood; write mlp:64-128-10, convnet:1-16-32-10, "
            "autoencoder:64-32-8, resnet20 (or 32, 44, 56), resnet18 or transformer, with options such as "
            "resnet20:classes=100."
        ) from error


def _parse_with_options(family: str, given: dict[str, int]) -> Arch:
    channels, classes = given.pop("channels", 0), given.pop("classes", 10)
    if family == "transformer":
        size = given.pop("size", 8)
        channels = channels or 1
        options = {"in_channels": channels, "size": size, "patch": 2, "dim": 64, "depth": 4, "num_classes": classes}
        options |= given
        return make_arch(family, {"hidden": 2 * options["dim"], **options})
    channels = channels or 3
    if family == "resnet18":
        stem, size, width = given.pop("stem", 3), given.pop("size", 32), given.pop("width", 64)
        options_18 = {"in_channels": channels, "widths": tuple(width * 2**i for i in range(4)), "blocks": (2,) * 4}
        return make_arch(family, options_18 | {"stem": stem, "num_classes": classes} | given, (channels, size, size))
    depth = int(family.removeprefix("resnet"))
    if depth < 8 or depth % 6 != 2 or not family.startswith("resnet"):
        raise ValueError(f"no residual network of depth {depth}")
    width = given.pop("width", 16)
    shape = _square(channels, given.pop("size")) if "size" in given else None
    options_r = {"in_channels": channels, "widths": (width, 2 * width, 4 * width), "blocks": ((depth - 2) // 6,) * 3}
    return make_arch("resnet", options_r | {"num_classes": classes} | given, shape)


def _square(channels: int, side: int) -> tuple[int, int, int]:
    return channels, side, side


def _default_shape(family: str, options: Mapping[str, Any]) -> tuple[int, ...]:
    if family == "transformer":
        return (options["in_channels"], options["size"], options["size"])
    if family in ("mlp", "autoencoder"):
        return image_shape(options["widths"][0])
    channels = options["in_channels"]
    side = 224 if options.get("stem") == 7 else 32 if channels == 3 else 8
    return (channels, side, side)


def image_shape(num_values: int) -> tuple[int, int, int]:
    """The image that `num_values` numbers most likely are: (1, s, s), else (3, s, s), else one row."""
    for channels in (1, 3):
        side = math.isqrt(num_values // channels)
        if channels * side * side == num_values:
            return (channels, side, side)
    return (1, 1, num_values)


def _options(given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((k, tuple(v) if isinstance(v, (list, tuple)) else v) for k, v in given.items()))


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST


def _check_option(key: str, value: Any) -> None:
    if key in ("widths", "blocks"):
        fits = isinstance(value, tuple) and 0 < len(value) <= DEEPEST and all(_is_size(v) for v in value)
    else:
        fits = _is_size(value)
    if not fits:
        raise ValueError(f"option {key} must hold integers from 1 to {LARGEST}, got {value!r}")
