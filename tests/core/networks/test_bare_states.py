"""What bare state dicts show: kinds and order by hand-made names, counts by adding up every tensor."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.compression.surveying import survey_model
from core.journeys import open_network
from core.networks.bare_states import state_rest, state_views, state_weights
from core.networks.forms import layer_obstacle


def test_a_state_dict_tells_kinds_by_names_and_shapes() -> None:
    state = {
        "conv.weight": torch.zeros(6, 4, 3, 5),
        "conv.bias": torch.zeros(6),
        "seq.weight": torch.zeros(6, 4, 3),
        "fc.weight": torch.zeros(10, 7),
        "bn.weight": torch.zeros(6),
        "wte.weight": torch.zeros(50, 8),
        "h.0.attn.c_attn.weight": torch.zeros(8, 24),
        "mha.in_proj_weight": torch.zeros(24, 8),
        "mha.in_proj_bias": torch.zeros(24),
        "cube.weight": torch.zeros(2, 3, 2, 2, 2),
        "empty.weight": torch.zeros(0, 3),
        "num_batches_tracked": torch.tensor(1),
    }
    found = {view.name: (view.kind, view.m, view.n, view.bias) for view in state_views(state)}
    assert found == {
        "conv": ("conv2d", 6, 60, True),
        "seq": ("conv1d", 6, 12, False),
        "fc": ("linear", 10, 7, False),
        "wte": ("embedding", 50, 8, False),
        "h.0.attn.c_attn": ("hf_conv1d", 24, 8, False),
        "mha.in_proj": ("in_proj", 24, 8, True),
        "cube": ("other", 2, 24, False),
    }
    assert all(view.positions == 0 for view in state_views(state))


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float64, torch.int8, torch.bool],
)
def test_a_state_dict_of_any_type(dtype: torch.dtype) -> None:
    weight = torch.ones(3, 4).to(dtype)
    (view,) = state_views({"a.weight": weight})
    assert view.finite and view.itemsize == weight.element_size()


def test_values_beyond_single_precision_are_finite() -> None:
    (view,) = state_views({"a.weight": torch.full((3, 4), 1e200, dtype=torch.float64)})
    assert view.finite


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16, torch.float64])
def test_a_state_dict_with_nan_is_marked(dtype: torch.dtype) -> None:
    weight = torch.ones(3, 4)
    weight[1, 2] = math.nan
    assert not state_views({"a.weight": weight.to(dtype)})[0].finite


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.int8, torch.uint8, torch.int64, torch.complex64])
def test_what_holds_no_floating_point_numbers_is_named_with_its_type(dtype: torch.dtype) -> None:
    for name in ("a.weight", "a.mask", "a.qweight"):
        (view,) = state_views({name: torch.ones(3, 4).to(dtype)})
        assert str(dtype).removeprefix("torch.") in layer_obstacle(view)
    assert layer_obstacle(state_views({"a.weight": torch.ones(3, 4)})[0]) == ""


def test_every_tensor_of_two_sides_is_a_layer_and_only_the_others_are_the_rest() -> None:
    state = {
        "weight": torch.randn(3, 4), "bias": torch.randn(3), "lstm.weight_ih_l0": torch.randn(8, 5),
        "mha.q_proj_weight": torch.randn(6, 4), "table": torch.randn(1, 9, 4), "h.0.attn.bias": torch.ones(1, 1, 6, 6),
        "flag.weight": torch.ones(4, 4, dtype=torch.bool), "wave.weight": torch.ones(2, 3, dtype=torch.complex64),
        "fc": torch.tensor(2.0), "fc.weight": torch.randn(5, 5), "fc.bias": torch.randn(1, 5),
        "bn.weight": torch.randn(7),
    }  # fmt: skip
    layers = state_views(state)
    matrices = [name for name, tensor in state.items() if tensor.ndim > 1]
    assert len(layers) == len(matrices) and len({view.name for view in layers}) == len(matrices)
    numbers = sum(tensor.numel() for name, tensor in state.items() if name not in ("bias", *matrices))
    rest, lines = state_rest(state, layers)
    assert (rest.params, rest.bytes) == (numbers, 4 * numbers) and lines == (
        f"everything else in the file: {numbers} numbers",
    )
    found = {view.name: (view.m, view.n, bool(layer_obstacle(view))) for view in layers}
    assert found == {
        "weight": (3, 4, False), "lstm.weight_ih_l0": (8, 5, False), "mha.q_proj_weight": (6, 4, False),
        "table": (9, 4, True), "h.0.attn.bias": (6, 6, True), "flag": (4, 4, True), "wave": (2, 3, True),
        "fc.weight": (5, 5, False), "fc.bias": (1, 5, True),
    }  # fmt: skip
    weights = state_weights(state, layers)
    assert set(weights) == set(found) - {"wave"} and torch.equal(weights["fc.weight"], state["fc.weight"])


def test_a_survey_of_any_names_and_types_can_be_made(tmp_path: Path) -> None:
    """It used to stop at a tensor called "weight", at "q_proj_weight" and at complex numbers."""
    state = {"weight": torch.randn(3, 4), "x.q_proj_weight": torch.randn(3, 4), "table": torch.randn(1, 9, 4)}
    torch.save({**state, "c.weight": torch.ones(2, 3, dtype=torch.complex64)}, tmp_path / "odd.pt")
    made = survey_model(open_network(str(tmp_path / "odd.pt")))
    for name, tensor in state.items():
        S = torch.linalg.svdvals(tensor.double().squeeze(0))
        assert made.layer(name).spectrum is not None
        assert torch.allclose(torch.tensor(made.layer(name).spectrum.S, dtype=torch.float64), S)
    assert made.layer("c").spectrum is None and "complex64" in made.layer("c").obstacle


def test_numbers_in_names_count_as_numbers(tmp_path: Path) -> None:
    names = [f"h.{i}.mlp{j}" for i in range(12) for j in (1, 2, 10)]
    shuffled = random.Random(0).sample(names, len(names))
    for order in (sorted(names), shuffled):
        assert [view.name for view in state_views({f"{n}.weight": torch.ones(2, 2) for n in order})] == names
    save_file({f"{name}.weight": torch.ones(2, 2) for name in names}, tmp_path / "a.safetensors")
    assert [view.name for view in state_views(open_network(str(tmp_path / "a.safetensors")).state)] == names


def test_the_order_in_which_a_network_was_saved_is_kept() -> None:
    names = ["stem", "block.0.b", "block.0.a", "block.1.b", "block.1.a", "an_exit"]
    assert [view.name for view in state_views({f"{name}.weight": torch.ones(2, 2) for name in names})] == names


def test_numbers_of_any_length_order_too() -> None:
    names = [f"a.{'9' * 5000}", f"a.1{'0' * 5000}"]
    views = state_views({f"{name}.weight": torch.ones(2, 2) for name in reversed(names)})
    assert [view.name for view in views] == names
