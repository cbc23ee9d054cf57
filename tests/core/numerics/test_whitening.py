"""Whitening against the output error itself, numpy's SVD of W X, and other weightings that it must beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from core.numerics import whitening
from core.numerics.svd import spectrum, truncate
from core.numerics.whitening import SecondMoment, root, shrink, truncate_whitened, whiten

CASES = [(20, 30, 500), (30, 20, 500), (20, 30, 12), (30, 20, 12), (20, 30, 25), (5, 40, 3), (1, 7, 20), (7, 1, 20)]


def layer(m: int, n: int, num: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """W (m, n) and inputs X (n, num) whose features differ in size by a factor of 100 and are mixed."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.normal(size=(n, n)))[0] * np.logspace(0, -2, n)
    return torch.from_numpy(rng.normal(size=(m, n))), torch.from_numpy(mixing @ rng.normal(size=(n, num)))


@pytest.fixture(params=["root of G", "eigenvectors of W G Wᵀ"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "root of G":
        monkeypatch.setattr(whitening, "ROOT_SIDE", 0)
    return request.param


@pytest.mark.parametrize("case", CASES)
def test_the_whitened_tail_is_the_output_error(case: tuple[int, int, int], route: str) -> None:
    W, X = layer(*case)
    seen = whiten(W, X @ X.mT)
    size = (W @ X).norm()
    for r in range(seen.spectrum.k + 1):
        A, B = truncate_whitened(W, X @ X.mT, r)
        assert A.shape == (case[0], r) and B.shape == (r, case[1])
        assert float(((W - A @ B) @ X).norm()) == pytest.approx(seen.spectrum.tail[r], abs=1e-10 * float(size))


@pytest.mark.parametrize("case", CASES)
def test_whitened_values_are_those_of_the_outputs(case: tuple[int, int, int], route: str) -> None:
    W, X = layer(*case)
    S = np.linalg.svd((W @ X).numpy(), compute_uv=False)[: min(case[:2])]
    got = np.array(whiten(W, X @ X.mT).spectrum.S)
    assert np.abs(got[: len(S)] - S).max() < 1e-10 * S[0] and (got[len(S) :] == 0).all()


@pytest.mark.parametrize("case", CASES)
def test_full_rank_gives_the_layer_back_even_where_no_input_looked(case: tuple[int, int, int], route: str) -> None:
    W, X = layer(*case)
    A, B = truncate_whitened(W, X @ X.mT, min(W.shape))
    assert torch.allclose(A @ B, W, atol=1e-12)


def test_directions_without_inputs_are_kept_as_far_as_the_rank_allows() -> None:
    """Rank 2 suffices for what the inputs see; the third component is the best one for what they do not."""
    W, X = torch.zeros(6, 8), torch.zeros(8, 50)
    W[0, 0], W[1, 1], W[2, 4], W[3, 5] = 1.0, 2.0, 3.0, 5.0
    X[:4] = torch.randn(4, 50)
    A, B = truncate_whitened(W, X @ X.mT, 3)
    want = W.clone()
    want[2, 4] = 0.0
    assert torch.allclose(A @ B, want, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 8), (8, 6)])
def test_nothing_is_added_where_the_layer_itself_ends(shape: tuple[int, int], route: str) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        W = torch.from_numpy(rng.normal(size=(shape[0], 2)) @ rng.normal(size=(2, shape[1])))
        X = torch.from_numpy(rng.normal(size=(shape[1], 1)))
        for r in range(2, 7):
            A, B = truncate_whitened(W, X @ X.mT, r)
            assert torch.allclose(A @ B, W, atol=1e-12)


def test_no_other_weighting_does_better_at_the_output() -> None:
    W, X = layer(20, 24, 400, seed=3)
    G = X @ X.mT
    rms, mean_abs = (X**2).mean(1).sqrt(), X.abs().mean(1).sqrt()
    for r in (3, 7, 15):
        best = whiten(W, G).spectrum.tail[r]
        others = []
        for d in (torch.ones(24), rms, mean_abs):
            A, B = truncate(W * d, r)
            others.append(float(((W - A @ B / d) @ X).norm()))
        A, B = truncate_whitened(W, G, r)
        for _ in range(20):  # nor a small step away
            moved = (A + 1e-3 * torch.randn_like(A)) @ (B + 1e-3 * torch.randn_like(B))
            others.append(float(((W - moved) @ X).norm()))
        assert best < min(others)


@pytest.mark.parametrize("read", [np.array, np.ndarray.tolist], ids=["arrays", "rows"])
def test_arrays_and_rows_are_read_as_tensors_are(read: Callable[[Any], Any], route: str) -> None:
    W, X = layer(5, 7, 40)
    D, G = W.numpy(), (X @ X.mT).numpy()
    S = np.linalg.svd((W @ X).numpy(), compute_uv=False)
    assert np.allclose(whiten(read(D), read(G)).spectrum.S, S, atol=1e-9 * S[0])
    A, B = truncate_whitened(read(D), read(G), 2)
    assert A.dtype == torch.float64 and float(((W - A @ B) @ X).norm()) == pytest.approx(float(np.linalg.norm(S[2:])))


def test_white_inputs_change_nothing_and_scale_passes_through() -> None:
    W = torch.randn(9, 6)
    plain, white = spectrum(W), whiten(W, 4.0 * torch.eye(6)).spectrum
    assert white.S == pytest.approx([2.0 * s for s in plain.S], rel=1e-13)
    A, B = truncate(W, 3)
    A_w, B_w = truncate_whitened(W, 4.0 * torch.eye(6), 3)
    assert torch.allclose(A_w @ B_w, A @ B, atol=1e-12)


def test_factors_are_balanced_keep_the_dtype_and_one_whitening_serves_all_ranks() -> None:
    W, X = layer(12, 10, 200)
    seen = whiten(W, X @ X.mT)
    for r in (0, 1, 6, 10):
        A, B = seen.truncate(r)
        assert torch.allclose(A.norm(dim=0), B.norm(dim=1), atol=1e-13)
        assert torch.equal(A, truncate_whitened(W, X @ X.mT, r)[0])
    assert truncate_whitened(W.bfloat16(), X @ X.mT, 2)[0].dtype == torch.bfloat16
    assert truncate_whitened(torch.eye(4).int(), torch.eye(4), 2)[1].dtype == torch.float64


def test_nothing_in_nothing_out() -> None:
    W, G = torch.randn(4, 6), torch.zeros(6, 6)
    assert whiten(W, G).spectrum.S == (0.0,) * 4
    A, B = truncate_whitened(W, G, 2)
    plain = truncate(W, 2)
    assert torch.allclose(A @ B, plain[0] @ plain[1], atol=1e-12)  # no input was seen: fall back on the weights
    A, B = truncate_whitened(torch.zeros(4, 6), torch.eye(6), 4)
    assert not (A @ B).any() and A.isfinite().all() and B.isfinite().all()


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_root_and_its_pseudo_inverse(rank: int) -> None:
    X = torch.randn(8, rank)
    G = X @ X.mT
    R, R_pinv = root(G)
    assert torch.allclose(R @ R, G, atol=1e-12) and torch.allclose(R, R.mT)
    assert torch.allclose(R_pinv, torch.linalg.pinv(R, rtol=1e-6), atol=1e-8)
    assert torch.allclose(R @ R_pinv @ R, R, atol=1e-12)
    assert float(torch.trace(R @ R_pinv)) == pytest.approx(rank, abs=1e-9)


def test_root_of_nothing() -> None:
    R, R_pinv = root(torch.zeros(3, 3))
    assert not R.any() and not R_pinv.any()


def test_second_moment_streams() -> None:
    X = torch.randn(100, 5)
    whole, parts = SecondMoment(5), SecondMoment(5)
    whole.update(X)
    parts.update(X[:10])
    parts.update(X[10:40].reshape(3, 10, 5))  # (batch, tokens, features)
    parts.update(X[40:40])
    parts.update(X[40:].reshape(2, 5, 6, 5))
    assert parts.count == whole.count == 100
    want = torch.from_numpy(sum(np.outer(x, x) for x in X.numpy()) / 100)
    assert torch.allclose(whole.G, want, atol=1e-14) and torch.allclose(parts.G, want, atol=1e-14)


def test_second_moment_sums_in_float64() -> None:
    """Ten million and a few: in float32 the small part would vanish."""
    moment = SecondMoment(1)
    moment.update(torch.full((1, 1), 2.0**13, dtype=torch.float32))
    for _ in range(8):
        moment.update(torch.ones(1, 1, dtype=torch.float32))
    assert float(moment.G) * 9 == pytest.approx(2.0**26 + 8, rel=1e-15)


def test_second_moment_refuses_what_does_not_fit_and_stays_as_it_was() -> None:
    moment = SecondMoment(3)
    with pytest.raises(ValueError, match="update"):
        _ = moment.G
    moment.update(torch.eye(3))
    for bad, text in [(torch.ones(2, 4), r"\(2, 4\)"), (torch.full((2, 3), float("nan")), "NaN")]:
        with pytest.raises(ValueError, match=text):
            moment.update(bad)
    assert moment.count == 3 and torch.allclose(moment.G, torch.eye(3) / 3)
    with pytest.raises(ValueError, match="n = 0"):
        SecondMoment(0)


def test_the_second_moment_handed_out_is_not_the_running_one() -> None:
    moment = SecondMoment(2)
    moment.update(torch.eye(2))
    before = moment.G.clone()
    taken = moment.G
    moment.update(10 * torch.eye(2))
    assert torch.equal(taken, before)


@pytest.mark.parametrize("a", [0.0, 0.1, 1.0])
def test_shrinkage_keeps_the_trace_and_lifts_the_floor(a: float) -> None:
    X = torch.randn(6, 3)
    G = X @ X.mT
    shrunk = shrink(G, a)
    assert float(shrunk.trace()) == pytest.approx(float(G.trace()))
    want = (1 - a) * np.linalg.eigvalsh(G.numpy()) + a * float(G.trace()) / 6
    assert np.linalg.eigvalsh(shrunk.numpy()) == pytest.approx(want, abs=1e-12)


def test_nonsense_is_refused() -> None:
    W, G = torch.randn(3, 4), torch.eye(4)
    for call, text in [
        (lambda: whiten(W, torch.eye(3)), r"4 inputs but the second moment is \(3, 3\)"),
        (lambda: whiten(W, torch.ones(4, 3)), r"\(4, 3\)"),
        (lambda: whiten(W, torch.triu(torch.ones(4, 4))), "symmetric"),
        (lambda: whiten(W, G * float("nan")), "NaN"),
        (lambda: whiten(W * float("inf"), G), "infinite"),
        (lambda: truncate_whitened(W, G, 4), "got 4"),
        (lambda: truncate_whitened(W, G, -1), "got -1"),
        (lambda: shrink(G, 1.5), "1.5"),
    ]:
        with pytest.raises(ValueError, match=text):
            call()


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu() -> None:
    W, X = layer(30, 40, 300)
    here, there = whiten(W, X @ X.mT), whiten(W.cuda(), (X @ X.mT).cuda())
    assert np.abs(np.subtract(here.spectrum.S, there.spectrum.S)).max() <= 1e-6 * here.spectrum.S[0]
    for r in (5, 30):
        (A, B), (A_gpu, B_gpu) = here.truncate(r), there.truncate(r)
        assert torch.allclose((A_gpu @ B_gpu).cpu(), A @ B, atol=1e-8)
