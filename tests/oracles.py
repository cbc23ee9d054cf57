"""Slow, literal transcriptions of definitions and of algorithms in papers. They share no code with the product."""

from __future__ import annotations

import math

import numpy as np

# Numerics: spectra and rank rules


def best_approximation(W: np.ndarray, r: int) -> np.ndarray:
    """Rank-r approximation of W (m, n) as the sum of r outer products from numpy's SVD."""
    U, S, Vh = np.linalg.svd(W, full_matrices=False)
    total = np.zeros_like(W)
    for i in range(r):
        total = total + S[i] * np.outer(U[:, i], Vh[i])
    return total


def least_rank(S: list[float], enough) -> int:
    """Least r in 0..k for which enough(kept part, whole) holds, trying each in turn; parts are lists of values."""
    for r in range(len(S) + 1):
        if enough(S[:r], S):
            return r
    raise AssertionError("not even the full rank is enough")


def entropy_rank(S: list[float]) -> float:
    """exp of the Shannon entropy of S / sum S, term by term."""
    total = sum(S)
    entropy = 0.0
    for s in S:
        if s > 0:
            entropy -= s / total * math.log(s / total)
    return math.exp(entropy)


def marchenko_pastur_density(x: float, beta: float) -> float:
    """Density of the Marchenko-Pastur law at x, ratio beta, unit variance."""
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2
    return math.sqrt(max(0.0, (high - x) * (x - low))) / (2 * math.pi * beta * x) if low < x < high else 0.0


def evbmf_noise(S: np.ndarray, m: int, n: int, points: int = 20_000) -> tuple[float, int]:
    """Noise variance and rank of the analytic EVBMF: the free energy of each value by the published formula, minimised
    over a geometric grid of noise variances between the published bounds."""
    L, M = min(m, n), max(m, n)
    a = L / M
    t = 2.5129 * math.sqrt(a)
    x_bar = (1 + t) * (1 + a / t)
    e = math.ceil(L / (1 + a)) - 2
    low = max(S[e + 1] ** 2 / (M * x_bar), float(np.mean(S[e + 1 :] ** 2)) / M)
    high = float(np.sum(S**2)) / (L * M)
    grid = np.geomspace(low, high, points)
    total = np.zeros(points)
    for s in S:
        x = s * s / (M * grid)
        for j in range(points):
            if x[j] <= x_bar:
                total[j] += x[j] - math.log(x[j])
            else:
                b = x[j] - (1 + a)
                tau = 0.5 * (b + math.sqrt(b * b - 4 * a))
                total[j] += x[j] - tau + math.log((tau + 1) / x[j]) + a * math.log(tau / a + 1)
    v = float(grid[int(np.argmin(total))])
    return v, int(np.sum(math.sqrt(M * v * x_bar) < S))


def tail_start(S: list[float]) -> int:
    """detX: eigenvalues with mean 1, multiplied from the largest down until the product first drops below 1."""
    lam = [s * s for s in S]
    mean = sum(lam) / len(lam)
    product, count = 1.0, 0
    for value in lam:
        product *= value / mean
        if product < 1.0:
            break
        count += 1
    return count


def power_law(x: np.ndarray) -> tuple[float, float, float, int]:
    """alpha, x_min, distance, points: every start of the sorted data but the last, each sum written out."""
    x = np.sort(x)
    best = (math.inf, 0.0, 0.0, 0)
    for i in range(len(x) - 1):
        x_min, n = x[i], len(x) - i
        total = sum(math.log(x_j / x_min) for x_j in x[i:])
        alpha = 1 + n / total
        distance = max(abs(1 - (x[i + j] / x_min) ** (1 - alpha) - j / n) for j in range(n))
        best = min(best, (distance, alpha, x_min, n))
    distance, alpha, x_min, n = best
    return alpha, x_min, distance, n


def johnstone_edge(m: int, n: int, sigma: float, scale_units: float) -> float:
    """Edge of the largest singular value of an m x n white matrix: Johnstone's centre plus scale_units of his scale."""
    N, M = max(m, n), min(m, n)
    mu = (math.sqrt(N - 1) + math.sqrt(M)) ** 2
    width = (math.sqrt(N - 1) + math.sqrt(M)) * (1 / math.sqrt(N - 1) + 1 / math.sqrt(M)) ** (1 / 3)
    return sigma * math.sqrt(mu + scale_units * width)
