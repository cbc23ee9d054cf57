"""The built-in networks against networks written out by hand, published sizes, and the recognition of all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core.errors import CheckpointError
from core.networks.arch import IMAGENET_MEAN, IMAGENET_STD, Arch, make_arch, parse_arch
from core.networks.zoo import accepts, build, expected_shapes, recognize

TEXTS = [
    *("mlp:64-128-10", "mlp:7-3", "autoencoder:64-32-8", "convnet:1-16-32-10", "convnet:3-8-8-8-5"),
    *("resnet8:channels=1,width=4", "resnet20", "resnet20:classes=100,channels=1,width=8", "resnet18:width=4"),
    *("resnet18:stem=7,size=224,width=4,classes=1000", "transformer", "transformer:channels=3,size=32,patch=4,dim=32"),
]


def named(arch: Arch, x: Tensor) -> tuple[nn.Module, dict[str, Tensor], Tensor]:
    """A network with random statistics as well as weights, in evaluation mode; its state; its answer to x."""
    torch.manual_seed(1)
    network = build(arch)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.3)
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5)
    with torch.no_grad():
        return network.eval(), network.state_dict(), network.eval()(x)


def norm(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    """BatchNorm with stored statistics, from its definition; x (N, C, H, W)."""
    mean, var, weight, bias = (
        p[f"{name}.{part}"].reshape(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def conv(x: Tensor, kernel: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolution as a sum over kernel positions; x (N, c, H, W), kernel (o, c, k, k)."""
    N, c, H, W = x.shape
    o, _, k, _ = kernel.shape
    padded = torch.zeros(N, c, H + 2 * padding, W + 2 * padding, dtype=x.dtype)
    padded[:, :, padding : padding + H, padding : padding + W] = x
    height, width = (H + 2 * padding - k) // stride + 1, (W + 2 * padding - k) // stride + 1
    out = torch.zeros(N, o, height, width, dtype=x.dtype)
    for i in range(k):
        for j in range(k):
            part = padded[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            out += torch.einsum("nchw,oc->nohw", part, kernel[:, :, i, j])
    return out


def residual(x: Tensor, p: dict[str, Tensor], name: str, stride: int) -> Tensor:
    """A block of He et al. before the shortcut is added."""
    out = norm(conv(x, p[f"{name}.conv1.weight"], stride, 1), p, f"{name}.bn1").clamp(min=0)
    return norm(conv(out, p[f"{name}.conv2.weight"], 1, 1), p, f"{name}.bn2")


def test_cifar_resnet_is_the_network_of_the_paper(float64: None) -> None:
    x = torch.randn(2, 3, 9, 9)
    _, p, got = named(parse_arch("resnet8:width=4"), x)
    h = norm(conv(x, p["conv1.weight"], 1, 1), p, "bn1").clamp(min=0)
    h = (residual(h, p, "layer1.0", 1) + h).clamp(min=0)
    for stage, width in ((2, 8), (3, 16)):
        shortcut = torch.zeros(2, width, (h.shape[2] + 1) // 2, (h.shape[3] + 1) // 2)
        shortcut[:, width // 4 : width // 4 + width // 2] = h[:, :, ::2, ::2]  # option A: zeros on both sides
        h = (residual(h, p, f"layer{stage}.0", 2) + shortcut).clamp(min=0)
    wanted = h.mean(dim=(2, 3)) @ p["linear.weight"].T + p["linear.bias"]
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("stem", [3, 7])
def test_resnet18_projects_where_shapes_differ(float64: None, stem: int) -> None:
    x = torch.randn(2, 3, 16, 16)
    arch = make_arch(
        "resnet18", {"in_channels": 3, "widths": (4, 6), "blocks": (1, 2), "stem": stem, "num_classes": 5}, (3, 16, 16)
    )
    _, p, got = named(arch, x)
    h = norm(conv(x, p["conv1.weight"], 1 if stem == 3 else 2, stem // 2), p, "bn1").clamp(min=0)
    if stem == 7:
        h = nn.MaxPool2d(3, stride=2, padding=1)(h)
    h = (residual(h, p, "layer1.0", 1) + h).clamp(min=0)
    shortcut = norm(conv(h, p["layer2.0.downsample.0.weight"], 2), p, "layer2.0.downsample.1")
    h = (residual(h, p, "layer2.0", 2) + shortcut).clamp(min=0)
    h = (residual(h, p, "layer2.1", 1) + h).clamp(min=0)
    torch.testing.assert_close(got, h.mean(dim=(2, 3)) @ p["fc.weight"].T + p["fc.bias"])


def test_convnet_pools_after_every_second_block(float64: None) -> None:
    x = torch.randn(2, 1, 8, 8)
    _, p, got = named(parse_arch("convnet:1-4-5-6-3"), x)
    h = norm(conv(x, p["conv1.weight"], 1, 1), p, "bn1").clamp(min=0)
    h = norm(conv(h, p["conv2.weight"], 1, 1), p, "bn2").clamp(min=0)
    h = h.reshape(2, 5, 4, 2, 4, 2).amax(dim=(3, 5))
    h = norm(conv(h, p["conv3.weight"], 1, 1), p, "bn3").clamp(min=0)
    torch.testing.assert_close(got, h.mean(dim=(2, 3)) @ p["fc.weight"].T + p["fc.bias"])


def test_perceptron_and_autoencoder_by_hand(float64: None) -> None:
    x = torch.randn(2, 1, 3, 3)
    _, p, got = named(parse_arch("mlp:9-5-4"), x)
    hidden = (x.reshape(2, 9) @ p["fc1.weight"].T + p["fc1.bias"]).clamp(min=0)
    torch.testing.assert_close(got, hidden @ p["fc2.weight"].T + p["fc2.bias"])
    _, p, got = named(parse_arch("autoencoder:9-5-2"), x)
    h = (x.reshape(2, 9) @ p["encoder.0.weight"].T + p["encoder.0.bias"]).clamp(min=0)
    h = h @ p["encoder.2.weight"].T + p["encoder.2.bias"]
    h = (h @ p["decoder.0.weight"].T + p["decoder.0.bias"]).clamp(min=0)
    torch.testing.assert_close(got, (h @ p["decoder.2.weight"].T + p["decoder.2.bias"]).reshape(x.shape))


def test_transformer_by_hand(float64: None) -> None:
    x = torch.randn(2, 3, 4, 4)
    _, p, got = named(parse_arch("transformer:channels=3,size=4,patch=2,dim=32,depth=1,hidden=20,classes=5"), x)

    def layer_norm(h: Tensor, name: str) -> Tensor:
        centred = h - h.mean(dim=-1, keepdim=True)
        scale = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        return centred / scale * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(h: Tensor, name: str) -> Tensor:
        return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    patches = [x[:, :, i : i + 2, j : j + 2].reshape(2, 12) for i in (0, 2) for j in (0, 2)]
    h = linear(torch.stack(patches, dim=1), "embed") + p["pos_embed"]
    q, k, v = linear(layer_norm(h, "blocks.0.norm1"), "blocks.0.attn.qkv").split(32, dim=-1)
    heads = []
    for a in (slice(0, 16), slice(16, 32)):  # two heads of 16 channels
        weights = torch.softmax(q[..., a] @ k[..., a].transpose(1, 2) / 4, dim=-1)
        heads.append(weights @ v[..., a])
    h = h + linear(torch.cat(heads, dim=-1), "blocks.0.attn.proj")
    inner = linear(layer_norm(h, "blocks.0.norm2"), "blocks.0.mlp.fc1")
    inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
    h = h + linear(inner, "blocks.0.mlp.fc2")
    torch.testing.assert_close(got, linear(layer_norm(h, "norm").mean(dim=1), "head"))


def test_every_projection_of_the_transformer_is_a_linear_layer() -> None:
    with torch.device("meta"):
        network = build(parse_arch("transformer"))
    owners = {name.rpartition(".")[0] for name, p in network.named_parameters() if p.ndim == 2}
    assert owners == {name for name, module in network.named_modules() if type(module) is nn.Linear}


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("resnet20", 0.27e6),  # He et al. 2015, table 6
        ("resnet32", 0.46e6),
        ("resnet44", 0.66e6),
        ("resnet56", 0.85e6),
        ("resnet18", 11.17e6),  # 3 x 3 stem, ten classes
        ("resnet18:stem=7,size=224,classes=1000", 11.69e6),  # torchvision
    ],
)
def test_parameter_counts_are_the_published_ones(text: str, published: float) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in build(parse_arch(text)).parameters())
    assert round(count / 1e4) == round(published / 1e4)


def test_parameter_count_of_resnet20_from_its_layers() -> None:
    kernels = 3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    with torch.device("meta"):
        count = sum(p.numel() for p in build(parse_arch("resnet20")).parameters())
    assert count == 9 * kernels + norms + 64 * 10 + 10 == 269_722


@pytest.mark.parametrize("text", TEXTS)
def test_names_and_shapes_alone_give_the_architecture_back(text: str) -> None:
    arch = parse_arch(text)
    shapes = expected_shapes(arch)
    assert recognize(shapes) == arch
    without = {name: shape for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    assert recognize(without) == arch
    assert Arch.from_json(arch.to_json()) == arch
    network = build(arch).eval()
    with torch.no_grad():
        answer = network(torch.zeros(2, *arch.input_shape))
    assert answer.shape == ((2, arch.num_classes) if arch.num_classes else (2, *arch.input_shape))


@pytest.mark.parametrize("text", TEXTS)
def test_one_wrong_name_or_shape_is_not_recognised(text: str) -> None:
    shapes = expected_shapes(parse_arch(text))
    first = next(iter(shapes))
    assert recognize({**shapes, "extra.weight": (3, 3)}) is None
    assert recognize({name: shape for name, shape in shapes.items() if name != first}) is None
    assert recognize({**shapes, first: (*shapes[first], 1)}) is None


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"": ()},
        {"fc1.weight": ()},
        {"fc1.weight": (5,), "fc1.bias": (5,)},
        {"fc1.weight": (2**40, 2**40), "fc1.bias": (2**40,)},
        {"fc1.weight": (0, 4), "fc1.bias": (0,)},
        {
            "embed.weight": (50, 4),
            "pos_embed": (1, 16, 50),
            "head.weight": (10, 50),
            "blocks.0.mlp.fc1.weight": (9, 50),
        },
        {"encoder.99999999999999999999.weight": (3, 4)},
        {"conv1.weight": (4, 3), "linear.weight": (10, 4), "layer1.0.conv1.weight": (4,)},
    ],
)
def test_strange_shapes_are_nothing_known(shapes: dict[str, tuple[int, ...]]) -> None:
    assert recognize(shapes) is None


def test_the_seed_decides_the_weights() -> None:
    arch = parse_arch("resnet8:width=4")
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(build(arch).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


@pytest.mark.parametrize("text", ["convnet:1-4-10,size=28", "resnet8:channels=1,size=28"])
def test_the_size_of_the_images_can_be_said(text: str) -> None:
    assert parse_arch(text).input_shape == (1, 28, 28)
    plain = parse_arch(text.replace(",size=28", ""))
    assert plain.input_shape == (1, 8, 8) and plain.options == parse_arch(text).options


def test_only_colour_residual_networks_get_imagenet_normalisation() -> None:
    assert parse_arch("resnet20").mean == IMAGENET_MEAN == (0.485, 0.456, 0.406)
    assert parse_arch("resnet18").std == IMAGENET_STD == (0.229, 0.224, 0.225)
    assert parse_arch("resnet8:channels=1").mean == (0.0,)
    assert parse_arch("convnet:3-8-10").std == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "resnet", "resnet21", "resnet-20", "mlp", "mlp:64", "mlp:64-0", "mlp:a-b", "vgg16", "resnet20:classes"),
        *("convnet:1-4-10,28", "convnet:1-4-10,size=0", "mlp:64-10,size=8", "resnet8:size=-8", "convnet:1-4-10,size="),
        *("convnet:3", "resnet20:depth=3", "transformer:heads=4", "mlp:64-99999999"),
    ],
)
def test_an_architecture_that_is_not_understood_is_reported(text: str) -> None:
    with pytest.raises(CheckpointError, match="is not understood; write"):
        parse_arch(text)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"name": "mlp"}', '{"name": [], "options": {}}', "[" * 100_000])
def test_a_damaged_description_is_reported(text: str) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        Arch.from_json(text)


def test_a_description_cannot_ask_for_an_absurd_network() -> None:
    text = parse_arch("mlp:64-10").to_json()
    for absurd in ("[64, 1000000000, 10]", str([2] * 10_000), "[64, -1]", "[64, 2.5]", "[true, 10]", '"ab"'):
        with pytest.raises(CheckpointError):
            Arch.from_json(text.replace("[64, 10]", absurd))


@pytest.mark.parametrize(
    ("text", "shape", "fits"),
    [
        ("mlp:64-10", (1, 8, 8), True),
        ("mlp:64-10", (4, 4, 4), True),
        ("mlp:64-10", (1, 8, 9), False),
        ("resnet20", (3, 40, 40), True),
        ("resnet20", (1, 32, 32), False),
        ("convnet:1-4-4-4-4-10", (1, 4, 4), True),
        ("convnet:1-4-4-4-4-10", (1, 3, 3), False),
        ("transformer", (1, 8, 8), True),
        ("transformer", (1, 16, 16), False),
    ],
)
def test_accepts_says_what_goes_through(text: str, shape: tuple[int, ...], fits: bool) -> None:
    arch = parse_arch(text)
    assert accepts(arch, shape) == fits
    if fits:
        assert build(arch).eval()(torch.zeros(1, *shape)).shape == (1, 10)


def test_records_and_recognition_need_no_torch_to_be_imported() -> None:
    code = (
        "import sys, core.networks.arch, core.networks.zoo, core.networks.checkpoints, core.networks.user_code, "
        "core.training.data, core.training.demos; assert 'torch' not in sys.modules"
    )
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
