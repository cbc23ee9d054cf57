"""Spectra and truncation against numpy's SVD, planted values, closed forms and the definition of the error."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from core.numerics import svd as module
from core.numerics.svd import Spectrum, spectra, spectrum, svd, truncate
from tests import oracles

SHAPES = [(1, 1), (1, 7), (7, 1), (5, 5), (12, 31), (40, 9)]


def planted(m: int, n: int, S: list[float], seed: int = 0) -> torch.Tensor:
    """A matrix with the singular values S, from random orthogonal factors made by numpy."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.normal(size=(m, len(S))))[0]
    V = np.linalg.qr(rng.normal(size=(n, len(S))))[0]
    return torch.from_numpy((U * S) @ V.T)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("exact", [False, True])
def test_values_are_numpys(shape: tuple[int, int], exact: bool) -> None:
    W = torch.randn(*shape)
    got = spectrum(W, exact=exact)
    S = np.linalg.svd(W.numpy(), compute_uv=False)
    assert (got.m, got.n, got.k) == (*shape, min(shape))
    assert np.abs(np.array(got.S) - S).max() <= 1e-12 * S[0]


@pytest.mark.parametrize("S", [[5.0, 3.0, 3.0, 1.0], [1.0, 1e-3, 1e-5, 1e-7, 1e-9, 1e-11], [2.0, 1.0, 0.0, 0.0, 0.0]])
def test_planted_values_return_also_where_squares_lose_them(S: list[float]) -> None:
    got = spectrum(planted(30, 20, S))
    assert got.S[: len(S)] == pytest.approx(S, abs=1e-14 * 20)
    assert max(got.S[len(S) :]) < 1e-14


def test_gram_values_stay_good_just_above_the_floor() -> None:
    S = [1.0, 0.1, 2.0 * module.GRAM_FLOOR]
    got = spectrum(planted(40, 3, S))
    assert got.S == pytest.approx(S, abs=1e-9)


def test_the_gram_route_is_the_one_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.linalg, "svdvals", lambda *_: pytest.fail("decomposed directly"))
    spectrum(planted(8, 5, [5.0, 4.0, 3.0, 2.0, 1.0]))
    with pytest.raises(pytest.fail.Exception):
        spectrum(planted(8, 5, [5.0, 4.0, 3.0, 2.0, 1e-9]))


@pytest.mark.parametrize("shape", SHAPES)
def test_error_and_energy_are_those_of_the_best_approximation(shape: tuple[int, int]) -> None:
    W = torch.randn(*shape).numpy()
    got = spectrum(torch.from_numpy(W))
    for r in range(min(shape) + 1):
        lost = np.linalg.norm(W - oracles.best_approximation(W, r))
        assert got.tail[r] == pytest.approx(lost, abs=1e-13 * np.linalg.norm(W))
        assert got.error(r) == pytest.approx(lost / np.linalg.norm(W), abs=1e-13)
        assert got.energy(r) == pytest.approx(1 - (lost / np.linalg.norm(W)) ** 2, abs=1e-13)
    assert got.error(got.k) == 0.0 and got.energy(got.k) == 1.0 and got.error(0) == 1.0


def test_small_tails_keep_their_digits() -> None:
    got = Spectrum.from_values(4, 4, [1.0, 1e-9, 4e-17, 3e-17])
    assert got.tail[2] == pytest.approx(5e-17, rel=1e-12)
    assert got.error(1) == pytest.approx(1e-9, rel=1e-12)


def test_closed_forms() -> None:
    rectangle = spectrum(torch.ones(3, 4))
    assert rectangle.S[0] == pytest.approx(12**0.5) and rectangle.error(1) < 1e-15
    assert rectangle.stable_rank == pytest.approx(1.0) and rectangle.entropy_rank == pytest.approx(1.0)
    identity = spectrum(2.5 * torch.eye(6))
    assert identity.S == pytest.approx([2.5] * 6, rel=1e-15)
    assert identity.stable_rank == pytest.approx(6.0) and identity.entropy_rank == pytest.approx(6.0)
    assert identity.error(3) == pytest.approx(0.5**0.5)


def test_zero_matrix() -> None:
    zero = spectrum(torch.zeros(3, 5))
    assert zero.S == (0.0,) * 3 and zero.tail == (0.0,) * 4
    assert [zero.error(r) for r in range(4)] == [0.0] * 4 and [zero.energy(r) for r in range(4)] == [1.0] * 4
    assert zero.stable_rank == 0.0 and zero.entropy_rank == 0.0


@pytest.mark.parametrize("scale", [1e-320, 1e-170, 1e-30, 1e30, 1e170, 1e300])
def test_scale_never_leaves_the_range(scale: float) -> None:
    W = torch.eye(3) * torch.tensor([4.0, 2.0, 1.0])
    base, scaled = spectrum(W), spectrum(W * scale)
    assert scaled.S == pytest.approx([s * scale for s in base.S], rel=1e-3 if scale < 1e-310 else 1e-14, abs=0.0)
    assert scaled.error(1) == pytest.approx(base.error(1), rel=1e-3)


FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
WHOLE = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


@pytest.mark.parametrize("dtype", FLOATS + WHOLE, ids=str)
def test_every_real_dtype_is_read_exactly(dtype: torch.dtype) -> None:
    stored = (torch.randn(6, 9) * 3).abs().to(dtype)
    S = np.linalg.svd(stored.to(torch.float64).numpy(), compute_uv=False)
    assert np.array(spectrum(stored).S) == pytest.approx(S, abs=1e-12 * S[0])
    A, B = truncate(stored, 6)
    assert A.dtype == B.dtype == (dtype if dtype in FLOATS else torch.get_default_dtype())


def arrays() -> dict[str, Any]:
    """The same 4 x 6 matrix in every form that numpy reads."""
    W = np.arange(24.0).reshape(4, 6) ** 2 % 11
    fixed = W.copy()
    fixed.flags.writeable = False
    kinds = {"array": W, "read-only": fixed, "columns first": np.asfortranarray(W), "backwards": W[::-1]}
    plain = {"rows": W.tolist(), "tuples": tuple(map(tuple, W))}
    return {**kinds, **plain, "single": W.astype(np.float32), "whole": W.astype(np.int64)}


@pytest.mark.parametrize("kind", arrays())
def test_arrays_and_rows_are_read_as_tensors_are(kind: str) -> None:
    given = arrays()[kind]
    W = np.array(given, dtype=np.float64)
    S = np.linalg.svd(W, compute_uv=False)
    assert np.allclose(spectrum(given).S, S, atol=1e-12)
    assert np.allclose(spectrum(given, exact=True).S, S, atol=1e-12)
    assert np.allclose(spectra([given, torch.from_numpy(W.copy())])[0].S, S, atol=1e-12)
    A, B = truncate(given, 4)
    assert np.allclose((A @ B).numpy(), W, atol=1e-12 if A.dtype == torch.float64 else 1e-5)
    dtypes = {"single": torch.float32, "whole": torch.get_default_dtype()}
    assert A.dtype == B.dtype == dtypes.get(kind, torch.float64)
    assert np.array_equal(np.array(given), W)  # nothing is written to


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_named(bad: float) -> None:
    W = torch.ones(3, 4)
    W[1, 2] = bad
    wanted = "1 NaN and 0 infinite" if bad != bad else "0 NaN and 1 infinite"
    for call in (spectrum, lambda W: spectrum(W, exact=True), lambda W: truncate(W, 1), svd):
        with pytest.raises(ValueError, match=wanted):
            call(W)
    with pytest.raises(ValueError, match=f"matrix 1: .*{wanted}"):
        spectra([torch.ones(2, 2), W])


@pytest.mark.parametrize("W", [torch.zeros(0, 3), torch.zeros(3, 0), torch.zeros(3), torch.zeros(2, 2, 2)], ids=str)
def test_what_is_no_matrix_is_refused(W: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="shape"):
        spectrum(W)


def test_complex_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="real"):
        spectrum(torch.ones(2, 2, dtype=torch.complex128))


@pytest.mark.parametrize("r", [-1, 4])
def test_ranks_outside_are_refused(r: int) -> None:
    with pytest.raises(ValueError, match=f"got {r}"):
        spectrum(torch.eye(3)).error(r)
    with pytest.raises(ValueError, match=f"got {r}"):
        truncate(torch.eye(3), r)


@pytest.mark.parametrize("S", [[1.0, 2.0], [1.0, -1.0], [1.0, float("nan")], [1.0], [3.0, 2.0, 1.0]])
def test_a_record_needs_proper_values(S: list[float]) -> None:
    with pytest.raises(ValueError, match="singular values"):
        Spectrum.from_values(2, 3, S)


def test_the_record_is_plain_and_frozen() -> None:
    got = spectrum(torch.randn(4, 3))
    assert pickle.loads(pickle.dumps(got)) == got == Spectrum.from_values(4, 3, got.S)
    assert all(type(x) is float for x in (*got.S, *got.tail))
    with pytest.raises(AttributeError):
        got.m = 5  # type: ignore[misc]


@pytest.mark.parametrize("shape", SHAPES)
def test_truncation_is_the_best_approximation_and_balanced(shape: tuple[int, int]) -> None:
    W = torch.randn(*shape)
    for r in range(min(shape) + 1):
        A, B = truncate(W, r)
        assert A.shape == (shape[0], r) and B.shape == (r, shape[1])
        assert np.abs((A @ B).numpy() - oracles.best_approximation(W.numpy(), r)).max() < 1e-12
        assert torch.allclose(A.mT @ A, B @ B.mT, atol=1e-12)
        assert torch.allclose((A.mT @ A).diagonal(), torch.tensor(spectrum(W).S[:r]), atol=1e-12)


def test_vh_holds_rows() -> None:
    W = torch.randn(4, 9)
    U, S, Vh = svd(W)
    assert U.shape == (4, 4) and S.shape == (4,) and Vh.shape == (4, 9)
    assert torch.allclose((U * S) @ Vh, W, atol=1e-13) and torch.allclose(Vh @ Vh.mT, torch.eye(4), atol=1e-13)


def test_inputs_stay_untouched_and_gradients_are_not_followed() -> None:
    W = torch.nn.Parameter(torch.randn(5, 4) * 1e200)
    before = W.detach().clone()
    spectrum(W)
    A, _ = truncate(W, 2)
    assert not A.requires_grad and torch.equal(W.detach(), before)
    strided = torch.randn(8, 6)[::2, ::3]
    assert spectrum(strided) == spectrum(strided.contiguous())


def test_a_list_gives_what_one_by_one_gives() -> None:
    mixed = [torch.randn(6, 4), torch.zeros(6, 4), torch.randn(6, 4).float(), torch.randn(3, 11), planted(6, 4, [1.0])]
    assert spectra(mixed) == [spectrum(W) for W in mixed]
    assert spectra(mixed, device="cpu") == spectra(mixed) and spectra([]) == []


def test_several_threads_give_the_same_and_leave_their_number_as_it_was() -> None:
    matrices = [torch.randn(20 + i, 40 - i) for i in range(6)]
    one = spectra(matrices)
    torch.set_num_threads(2)
    two = spectra(matrices)
    assert torch.get_num_threads() == 2
    for a, b in zip(one, two, strict=True):
        assert (a.m, a.n) == (b.m, b.n) and b.S == pytest.approx(a.S, abs=1e-13 * a.S[0])
    with pytest.raises(ValueError, match="matrix 3: "):
        spectra([*matrices[:3], torch.full((2, 2), float("nan")), *matrices[3:]])
    assert torch.get_num_threads() == 2


def test_a_batch_gives_what_one_by_one_gives() -> None:
    stack = [torch.randn(6, 4), torch.zeros(6, 4), planted(6, 4, [1.0, 1e-8]), 1e200 * torch.randn(6, 4)]
    for one, S in zip(stack, module._gram_values(stack), strict=True):
        alone = np.linalg.svd(one.numpy(), compute_uv=False)
        assert np.abs(S.numpy() - alone).max() <= 1e-13 * alone[0]


def test_batches_on_an_accelerator_group_equal_shapes_within_the_memory_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [(4, 3), (5, 3), (4, 3), (4, 3)]
    matrices = [torch.zeros(s, device="meta") for s in shapes]
    monkeypatch.setattr(module, "_BATCH_BYTES", 8 * 12 * 2)
    assert [members for _, members in module._batches(matrices, None)] == [[0, 2], [3], [1]]


def test_two_runs_agree_bit_for_bit() -> None:
    W = torch.randn(50, 70)
    assert spectrum(W) == spectrum(W.clone())
    assert all(torch.equal(a, b) for a, b in zip(truncate(W, 9), truncate(W.clone(), 9), strict=True))


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu() -> None:
    matrices = [torch.randn(64, 200), torch.randn(64, 200), torch.zeros(7, 3), planted(40, 30, [1.0, 1e-4, 1e-9])]
    here, there = spectra(matrices), spectra(matrices, device="auto")
    for a, b in zip(here, there, strict=True):
        assert np.abs(np.subtract(a.S, b.S)).max() <= 1e-6 * a.S[0]
    W = matrices[0]
    A, B = truncate(W.cuda(), 9)
    assert torch.allclose((A @ B).cpu(), torch.from_numpy(oracles.best_approximation(W.numpy(), 9)), atol=1e-9)
