"""What a survey says of a network is what numpy finds in its weights and what its built layers do on its inputs."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.compression.fitting import repair
from core.compression.plans import LayerPlan, Plan, Repair
from core.compression.survey import Survey, interpolated
from core.compression.surveying import calibrate, survey_model
from core.errors import InputError
from core.networks.arch import Arch, Inputs, ModelRef, make_arch
from core.networks.checkpoints import Opened
from core.networks.forms import FAMILIES, RandomSparse, layer_obstacle
from core.networks.modules import matrix
from core.networks.zoo import build
from core.numerics.regression import RIDGE
from tests.layers import Conv1D, Tied, Wrapped

REF = ModelRef("file", "a test", "0" * 64)


def opened(module: nn.Module, *sample: int, classes: int = 0) -> Opened:
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    inputs = Inputs(sample, (0.0,) * sample[0], (1.0,) * sample[0]) if sample else None
    return Opened(REF, state, None, module.eval(), (), "", inputs)


def state_only(state: dict[str, Tensor]) -> Opened:
    return Opened(REF, state, None, None, ("a note",), "its names match no network")


def net() -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, (3, 5), stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(4 * 3 * 2, 8),
    )  # fmt: skip


def inputs(samples: int, *sample: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, *sample, generator=rng)
    return x + 0.5 * x.mean(dim=tuple(range(2, x.ndim)), keepdim=True) if x.ndim > 2 else x


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


# From the weights


def test_every_layer_has_the_spectra_of_its_unfoldings() -> None:
    model = net()
    made = survey_model(opened(model, 2, 8, 8))
    assert [layer.view.name for layer in made.layers] == ["0", "3", "6"]
    K = model[3].weight.detach().double().numpy()
    o, _, kh, kw = K.shape
    matrices = {
        "rows": K.reshape(o, -1),
        "columns": np.concatenate([K[:, :, i, j] for i in range(kh) for j in range(kw)]),
        "spatial": np.concatenate([K[:, :, :, j].reshape(o, -1) for j in range(kw)]),
    }
    spectra = dict(made.layer("3").spectra)
    assert next(iter(spectra)) == "rows" and set(spectra) == set(matrices)
    for unfolding, M in matrices.items():
        assert np.allclose(spectra[unfolding].S, np.linalg.svd(M, compute_uv=False), atol=1e-8)
    assert [name for name, _ in made.layer("6").spectra] == ["rows"]


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_curves_are_errors_of_built_layers(family: str) -> None:
    model = net()
    made = survey_model(opened(model, 2, 8, 8))
    tried = 0
    for layer in made.layers:
        curve, view = layer.curve(family), layer.view
        kind = FAMILIES[family]
        assert (curve is None) == bool(kind.obstacle(view))
        if curve is None:
            continue
        module = model.get_submodule(view.name)
        W = matrix(module, view).double().numpy()
        assert curve.at[-1] == kind.full(view)
        for level in curve.at[:: max(1, len(curve.at) // 5)]:
            form = kind.make(level, view)
            seeds = range(60) if isinstance(form, RandomSparse) else ()  # on average over seeds
            drawn = [replace(form, seed=seed) for seed in seeds] or [form]
            built = [one.build(copy.deepcopy(module).double(), view) for one in drawn]
            want = np.sqrt(np.mean([relative(as_matrix(one, view), W) ** 2 for one in built]))
            assert curve.plain[curve.at.index(level)] == pytest.approx(want, abs=1e-6 if len(drawn) == 1 else 0.03)
            tried += 1
    assert tried


def as_matrix(built: nn.Module, view) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The rows matrix of a built layer without stride, dilation or padding, from what it does to unit inputs."""
    if not isinstance(built, nn.Sequential):
        weight = built.weight.detach()
        return weight.reshape(view.m, view.n).numpy()
    first, second = copy.deepcopy(built.first), copy.deepcopy(built.second)
    eye = torch.eye(view.n, dtype=torch.float64)
    if view.kernel:
        for part in (first, second):
            part.stride, part.padding, part.dilation = (1, 1), (0, 0), (1, 1)
        eye = eye.reshape(view.n, -1, *view.kernel)
    with torch.no_grad():
        made = second(first(eye)).flatten(1)
    return (made - second.bias.detach()).T.numpy() if second.bias is not None else made.T.numpy()


def test_costs_of_a_survey_are_those_of_the_network() -> None:
    model = net()
    made = survey_model(opened(model, 2, 8, 8))
    assert made.dense.params == sum(p.numel() for p in model.parameters())
    assert made.runnable and made.input_shape == (2, 8, 8)
    assert "BatchNorm2d × 1: 12 parameters" in made.rest_lines


def test_the_survey_of_a_built_in_network_knows_its_name_and_classes() -> None:
    arch: Arch = make_arch("mlp", {"widths": (6, 5, 3)}, input_shape=(1, 2, 3))
    model = build(arch)
    made = survey_model(Opened(REF, model.state_dict(), arch, model, ("recognised",)))
    assert (made.arch, made.num_classes, made.notes) == (arch.label, 3, ("recognised",))
    assert all(layer.view.positions == 1 for layer in made.layers)


def test_weights_alone_give_spectra_and_parameters_and_say_why_no_more() -> None:
    state = {
        "a.weight": torch.randn(5, 4, 3, 3), "a.bias": torch.randn(5), "bn.weight": torch.randn(5),
        "bn.running_mean": torch.randn(5), "b.weight": torch.randn(7, 20), "attn.in_proj_weight": torch.randn(12, 4),
    }  # fmt: skip
    made = survey_model(state_only(state))
    assert not made.runnable and made.reason == "its names match no network" and made.notes == ("a note",)
    assert made.dense.params == sum(t.numel() for t in state.values()) and made.dense.macs == 0
    assert [layer.view.name for layer in made.layers] == ["a", "b", "attn.in_proj"]
    for layer in made.layers:
        name = "attn.in_proj_weight" if layer.view.kind == "in_proj" else f"{layer.view.name}.weight"
        want = np.linalg.svd(state[name].flatten(1).double().numpy(), compute_uv=False)
        assert layer.spectrum is not None and np.allclose(layer.spectrum.S, want, atol=1e-8)
    assert made.layer("a").curve("spatial") is not None and made.layer("attn.in_proj").curves == ()


def test_a_layer_with_nan_is_named_and_kept_out() -> None:
    model = net()
    with torch.no_grad():
        model[3].weight[0, 0, 0, 0] = math.nan
    made = survey_model(opened(model, 2, 8, 8))
    bad = made.layer("3")
    assert "NaN" in bad.obstacle and bad.spectra == () and bad.diagnostics is None and bad.curves == ()
    assert made.layer("0").spectrum is not None and made.layer("6").curves
    assert Survey.from_json(made.to_json()) == made
    with pytest.raises(InputError, match="NaN"):
        calibrate(made, model, inputs(5, 2, 8, 8), "a test")


def test_a_zero_matrix_has_nothing_to_lose() -> None:
    model = Wrapped(nn.Linear(6, 4))
    with torch.no_grad():
        model.layer.weight.zero_()
    made = calibrate(survey_model(opened(model, 6)), model, torch.randn(20, 6), "a test")
    layer = made.layer("layer")
    assert layer.obstacle == "" and layer.spectrum is not None and set(layer.spectrum.S) == {0.0}
    for curve in layer.curves:
        assert set(curve.plain) == {0.0} and set(curve.output) == {0.0} and set(curve.damage) == {0.0}
    assert Survey.from_json(made.to_json()) == made


@pytest.mark.parametrize("shape", [(1, 9), (9, 1)])
def test_a_single_row_or_column_is_listed_and_left(shape: tuple[int, int]) -> None:
    weight = torch.randn(*shape)
    made = survey_model(state_only({"v.weight": weight}))
    layer = made.layer("v")
    assert "rank 1 already" in layer.obstacle and layer.curves == ()
    assert layer.spectrum is not None and layer.spectrum.S[0] == pytest.approx(float(weight.norm()), rel=1e-6)


@pytest.mark.parametrize(
    "dtype",
    [torch.int8, torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64],
)
def test_weights_of_any_type(dtype: torch.dtype) -> None:
    weight = (10 * torch.randn(5, 8)).to(dtype)
    conv = (10 * torch.randn(4, 3, 3, 3)).to(dtype)
    made = survey_model(state_only({"w.weight": weight, "c.weight": conv}))
    for name, tensor in (("w", weight), ("c", conv)):
        spectrum = made.layer(name).spectrum
        want = np.linalg.svd(tensor.to(torch.float64).flatten(1).numpy(), compute_uv=False)
        assert spectrum is not None and np.allclose(spectrum.S, want, atol=1e-6 * want[0])
        sparse = made.layer(name).curve("sparse")
        assert (sparse is not None) == dtype.is_floating_point
        assert sparse is None or sparse.plain[-1] == 0.0
    assert made.dense.bytes == sum(t.numel() * t.element_size() for t in (weight, conv))


def test_groups_are_taken_together_as_a_block_diagonal_matrix() -> None:
    layer = nn.Conv2d(6, 8, 3, groups=2)
    made = survey_model(opened(Wrapped(layer), 6, 5, 5)).layer("layer")
    blocks = layer.weight.detach().double().reshape(2, 4, 27).numpy()
    whole = np.zeros((8, 54))
    whole[:4, :27], whole[4:, 27:] = blocks
    assert "grouped" in made.obstacle and made.spectrum is not None
    assert (made.spectrum.m, made.spectrum.n) == (8, 54)
    assert np.allclose(made.spectrum.S, np.linalg.svd(whole, compute_uv=False), atol=1e-8)


def test_a_depthwise_convolution_has_one_value_a_channel() -> None:
    layer = nn.Conv2d(6, 6, 3, groups=6)
    made = survey_model(opened(Wrapped(layer), 6, 5, 5)).layer("layer")
    norms = sorted((float(k.norm()) for k in layer.weight.detach().double()), reverse=True)
    assert made.spectrum is not None and np.allclose(made.spectrum.S, norms, atol=1e-8)
    assert made.curves == () and made.obstacle


def test_layers_that_share_a_weight_or_look_it_up_are_surveyed_too() -> None:
    made = survey_model(opened(Tied(False)))
    assert all(layer.spectrum is not None and layer.obstacle and not layer.curves for layer in made.layers)
    transposed = survey_model(opened(Wrapped(Conv1D(6, 4)), 5, 4)).layer("layer")
    assert transposed.spectrum is not None and (transposed.spectrum.m, transposed.spectrum.n) == (6, 4)


def test_the_shuffled_baseline_has_the_same_norm() -> None:
    made = survey_model(opened(net(), 2, 8, 8)).layer("6")
    assert made.shuffled is not None and made.spectrum is not None and made.diagnostics is not None
    assert made.shuffled.tail[0] == pytest.approx(made.spectrum.tail[0]) and made.shuffled.S != made.spectrum.S
    assert made.diagnostics.stable_rank == pytest.approx(made.spectrum.stable_rank)


def test_a_sample_that_cannot_be_run_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"\(3, 8, 8\).*--input"):
        survey_model(opened(net(), 3, 8, 8))


# From a calibration batch


@pytest.fixture(scope="module")
def calibrated() -> tuple[nn.Sequential, Survey, Tensor]:
    with torch.random.fork_rng():
        model = net().eval()
        x = inputs(60, 2, 8, 8)
        made = calibrate(survey_model(opened(model, 2, 8, 8)), model, x, "sixty inputs")
    return model, made, x


def layer_io(model: nn.Module, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    kept = []
    handle = model.get_submodule(name).register_forward_hook(lambda _, given, made: kept.append((given[0], made)))
    with torch.no_grad():
        model(x)
    handle.remove()
    given, made = kept[0]
    return given.double(), made.double()


@pytest.mark.parametrize("name", ["0", "3", "6"])
def test_the_output_curve_of_low_rank_is_what_the_best_layer_of_that_rank_loses(
    calibrated: tuple[nn.Sequential, Survey, Tensor], name: str
) -> None:
    """The layer of each rank is found by numpy from the inputs themselves, with the ridge added as extra inputs."""
    model, made, x = calibrated
    layer, module = made.layer(name), model.get_submodule(name)
    given, _ = layer_io(model, name, x)
    if layer.view.kernel:
        padded = nn.functional.pad(given, (module.padding[1],) * 2 + (module.padding[0],) * 2)
        X = nn.functional.unfold(padded, module.kernel_size, stride=module.stride).movedim(1, 0).flatten(1).numpy()
    else:
        X = given.T.numpy()
    W = matrix(module, layer.view).double().numpy()
    n, count = X.shape
    pull = math.sqrt(RIDGE * float((X**2).sum()) / n)  # sqrt(count * ridge * mean diag G)
    Y = W @ np.hstack([X, pull * np.eye(n)])
    U, _, _ = np.linalg.svd(Y, full_matrices=False)
    curve = layer.curve("lowrank")
    assert curve is not None and layer.whitened is not None and count > n
    for r, error in zip(curve.at, curve.output, strict=True):
        assert error == pytest.approx(relative(U[:, :r] @ U[:, :r].T @ Y, Y), abs=1e-6)
        real = relative(U[:, :r] @ U[:, :r].T @ W @ X, W @ X)  # without the ridge there is little between them
        assert error == pytest.approx(real, abs=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_output_curves_are_close_to_what_fitted_layers_do(
    calibrated: tuple[nn.Sequential, Survey, Tensor], family: str
) -> None:
    model, made, x = calibrated
    tried = 0
    for layer in made.layers:
        curve = layer.curve(family)
        if curve is None:
            continue
        for level in {curve.at[0], curve.at[len(curve.at) // 2]}:
            form = FAMILIES[family].make(level, layer.view)
            plan = Plan(REF, (LayerPlan(layer.view.name, form),), Repair(("whitened",)))
            new, _, stages = repair(plan, model, x, made.views, keep_stages=True)
            given, want = layer_io(model, layer.view.name, x)
            bias = model.get_submodule(layer.view.name).bias.detach().double()
            bias = bias.view(-1, *[1] * (want.ndim - 2))
            with torch.no_grad():
                got = stages["whitened"].get_submodule(layer.view.name)(given.float()).double()
            real = relative((got - bias).numpy(), (want - bias).numpy())
            assert curve.error(level) == pytest.approx(real, abs=0.03, rel=0.1), (layer.view.name, level)
            tried += 1
        assert new is not model
    assert tried


def test_output_and_damage_curves_fall_to_nothing(calibrated: tuple[nn.Sequential, Survey, Tensor]) -> None:
    _, made, _ = calibrated
    for layer in made.layers:
        for curve in layer.curves:
            assert len(curve.at) == len(curve.plain) == len(curve.output) == len(curve.damage)
            assert list(curve.output) == sorted(curve.output, reverse=True)
            assert list(curve.damage) == sorted(curve.damage, reverse=True)
            if curve.family != "sparse24":
                assert curve.output[-1] < 1e-6 and curve.damage[-1] < 1e-6


@pytest.mark.parametrize("classes", [0, 8])
def test_damage_at_a_measured_level_is_that_of_the_network(classes: int) -> None:
    model, x = net().eval(), inputs(40, 2, 8, 8)
    made = calibrate(replace(survey_model(opened(model, 2, 8, 8)), num_classes=classes), model, x, "a test")
    layer = made.layer("3")
    curve = layer.curve("lowrank")
    assert curve is not None
    for level in (1, 2, 3):  # shares 0, 0.5 and 0.75 of 4
        plan = Plan(REF, (LayerPlan("3", FAMILIES["lowrank"].make(level, layer.view)),), Repair(("whitened",)))
        _, _, stages = repair(plan, model, x, made.views, keep_stages=True)
        with torch.no_grad():
            a, b = stages["whitened"](x).double().numpy(), model(x).double().numpy()
        if classes:
            p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (b, a))
            want = float((p * np.log(p / q)).sum(1).mean())
        else:
            want = float(((a - b) ** 2).sum() / (b**2).sum())
        assert curve.damage[curve.at.index(level)] == pytest.approx(want, rel=1e-3)


def test_a_calibrated_survey_reads_back_and_says_from_what(calibrated: tuple[nn.Sequential, Survey, Tensor]) -> None:
    _, made, _ = calibrated
    assert made.calibration == "sixty inputs"
    assert Survey.from_json(made.to_json()) == made


def test_calibration_touches_nothing_and_is_the_same_twice() -> None:
    model, x = net().train(), inputs(30, 2, 8, 8)
    before = copy.deepcopy(model.state_dict())
    base = survey_model(opened(model, 2, 8, 8))
    model.train()
    made = [calibrate(base, model, x, "a test", seed=3) for _ in range(2)]
    assert made[0] == made[1]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_a_layer_that_never_runs_has_no_output_curve() -> None:
    model = Wrapped(nn.Linear(6, 4))
    model.add_module("spare", nn.Linear(6, 4))
    made = calibrate(survey_model(opened(model, 6)), model, torch.randn(20, 6), "a test")
    assert made.layer("spare").whitened is None and made.layer("spare").curves[0].output == ()
    assert made.layer("layer").whitened is not None


def test_calibration_needs_a_sample() -> None:
    model = Wrapped(nn.Linear(6, 4))
    with pytest.raises(ValueError, match="one sample"):
        calibrate(survey_model(opened(model, 6)), model, torch.zeros(0, 6), "a test")


# Between measured pairs


def test_interpolation_goes_through_the_pairs_and_is_a_power_law_between() -> None:
    known = ((0.1, 0.02), (0.4, 0.5), (0.8, 1.5))
    for error, lost in known:
        assert interpolated(known, error) == pytest.approx(lost)
    assert interpolated(known, 0.2) == pytest.approx(math.sqrt(0.02 * 0.5))  # half way in the logarithm
    assert interpolated(known, 0.05) == pytest.approx(0.02 / 4)  # quadratic below
    assert interpolated(known, 1.6) == pytest.approx(1.5 * 4)  # and beyond
    assert interpolated(known, 0.0) == 0.0 and interpolated((), 0.3) == 0.0 and interpolated(((0.0, 0.1),), 0.3) == 0.0


def test_interpolation_never_falls() -> None:
    known = ((0.05, 0.001), (0.3, 0.001), (0.6, 0.4), (0.9, 0.4))
    values = [interpolated(known, e) for e in np.linspace(0.0, 1.5, 200)]
    assert all(b >= a - 1e-15 for a, b in pairwise(values))


def test_every_obstacle_is_the_forms_own() -> None:
    made = survey_model(opened(net(), 2, 8, 8))
    assert [layer.obstacle for layer in made.layers] == [layer_obstacle(view) for view in made.views]
