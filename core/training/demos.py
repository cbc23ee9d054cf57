"""Train the embedded demo networks: `train_demo` reproduces each of them, bit for bit on one machine.

All four learn scikit-learn's digits. The recipes were chosen by accuracy on 300 held-out training images; the test
images were looked at once, for the accuracy that is stored.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import CheckpointError
from core.networks.arch import Arch, parse_arch
from core.networks.demo_files import DemoInfo
from core.networks.zoo import build

if TYPE_CHECKING:
    from torch import Tensor, nn

LICENCE = (
    "weights MIT; trained on the digits of E. Alpaydin and C. Kaynak (UCI repository, CC BY 4.0; through scikit-learn)"
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a demo is trained: AdamW with a linear warm-up over the first tenth and a cosine decay to zero after it.

    arch: for `parse_arch`. label: what to show. epochs, batch: of the 1,297 training images. shift: images move by up
    to so many pixels each way, at random. lr: peak, per step. weight_decay: AdamW's, relative to lr; strong, so that
    layers have ranks worth lowering. smoothing: of labels, in [0, 1). seed: of weights, order and shifts.
    """

    arch: str
    label: str
    epochs: int
    shift: int
    lr: float = 3e-3
    weight_decay: float = 1.0
    smoothing: float = 0.1
    batch: int = 64
    seed: int = 0

    @property
    def text(self) -> str:
        """One line for people."""
        shifts = f"shifts up to {self.shift} pixel" if self.shift else "no augmentation"
        return (
            f"AdamW, {self.epochs} epochs, batches of {self.batch}, peak rate {self.lr:g}, weight decay "
            f"{self.weight_decay:g}, label smoothing {self.smoothing:g}, {shifts}"
        )


RECIPES = {
    "digits-mlp": Recipe("mlp:64-192-192-10", "ReLU perceptron", epochs=40, shift=0),
    "digits-convnet": Recipe("convnet:1-24-32-48-64-10", "ConvNet with BatchNorm", epochs=20, shift=1),
    "digits-resnet": Recipe("resnet8:channels=1,width=16", "small ResNet", epochs=20, shift=1),
    "digits-vit": Recipe(
        "transformer:channels=1,size=8,patch=2,dim=64,depth=3,hidden=128",
        "small vision transformer",
        epochs=60,
        shift=0,
    ),
}
"""Every demo by name."""

Progress = Callable[[str, int, int], None]
"""Called after each epoch with what is going on, the epoch from 1, and the number of epochs."""


def train_demo(name: str, out_dir: str | Path, progress: Progress | None = None, epochs: int | None = None) -> DemoInfo:
    """Train one demo and write NAME.safetensors and NAME.json into `out_dir`; the facts written.

    Runs on one CPU thread and leaves torch's random state and thread count as they were. epochs: instead of the
    recipe's. Raises CheckpointError for an unknown name.
    """
    from core.training.data import open_data

    if name not in RECIPES:
        raise CheckpointError(f"There is no demo called {name!r}; there are {', '.join(RECIPES)}.")
    recipe = RECIPES[name] if epochs is None else replace(RECIPES[name], epochs=epochs)
    arch = parse_arch(recipe.arch)
    data = open_data("digits")
    with _reproducible(recipe.seed):
        module = build(arch)
        fit(module, *data.split("train"), recipe, progress)
        accuracy, n = accuracy_of(module, *data.split("test"))
    facts = {"arch": arch.to_json(), "data": "digits", "accuracy": f"{accuracy}", "n": f"{n}", "seed": f"{recipe.seed}"}
    content = to_safetensors(module, {**facts, "recipe": recipe.text, "licence": LICENCE})
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.safetensors").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    info = DemoInfo(
        name, recipe.label, arch, "digits", accuracy, n, recipe.seed, recipe.text, LICENCE, sha256, len(content)
    )
    (out / f"{name}.json").write_text(_sidecar(info), encoding="utf-8")
    return info


def fit(module: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, progress: Progress | None = None) -> None:
    """Train in place on x (N, C, H, W) and y (N,), then leave the network in evaluation mode; see `Recipe`.

    Everything random comes from torch's global generator.
    """
    import torch
    import torch.nn.functional as F

    optimizer = torch.optim.AdamW(module.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * math.ceil(len(x) / recipe.batch)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / (steps - warm + 1)))
        ),
    )
    for epoch in range(recipe.epochs):
        module.train()
        total = 0.0
        order = torch.randperm(len(x))
        for start in range(0, len(x), recipe.batch):
            rows = order[start : start + recipe.batch]
            loss = F.cross_entropy(module(shifted(x[rows], recipe.shift)), y[rows], label_smoothing=recipe.smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if progress is not None:
            progress(f"training, loss {total / len(x):.3f}", epoch + 1, recipe.epochs)
    module.eval()


def shifted(x: Tensor, most: int) -> Tensor:
    """Each image of x (N, C, H, W) moved by its own -most..most pixels down and right; zeros come in at the edge."""
    import torch
    import torch.nn.functional as F

    if most == 0:
        return x
    N, C, H, W = x.shape
    padded = F.pad(x, (most,) * 4)
    down, right = torch.randint(0, 2 * most + 1, (2, N, 1, 1, 1))
    rows = (down + torch.arange(H).reshape(1, 1, H, 1)).expand(N, C, H, W)
    columns = (right + torch.arange(W).reshape(1, 1, 1, W)).expand(N, C, H, W)
    images = torch.arange(N).reshape(N, 1, 1, 1)
    channels = torch.arange(C).reshape(1, C, 1, 1)
    return padded[images, channels, rows, columns]


def accuracy_of(module: nn.Module, x: Tensor, y: Tensor) -> tuple[float, int]:
    """Fraction of x (N, C, H, W) put into its class y (N,), and N. The demos take pixels in [0, 1] as they are."""
    import torch

    with torch.inference_mode():
        correct = int((module(x).argmax(dim=1) == y).sum())
    return correct / len(y), len(y)


def to_safetensors(module: nn.Module, metadata: dict[str, str]) -> bytes:
    """The state dict as a .safetensors file whose bytes depend on its content alone.

    The library writes metadata in random order; here the header is written again with sorted metadata.
    """
    from safetensors.torch import save

    content = save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})
    length = int.from_bytes(content[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(content[8 : 8 + length])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _sidecar(info: DemoInfo) -> str:
    arch: Arch = info.arch
    return json.dumps({**asdict(info), "arch": json.loads(arch.to_json())}, indent=2, sort_keys=True) + "\n"


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread and a seeded generator inside; afterwards everything as before."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
