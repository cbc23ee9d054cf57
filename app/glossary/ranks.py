"""Words about ranks: what each rule answers."""

from __future__ import annotations

from app.glossary.term import EYM, WW, Term

RANKS: dict[str, Term] = {
    "energy rank": Term(
        "Energy rank",
        "The smallest rank that keeps the asked share of the energy.",
        r"\min \{ r : \textstyle\sum_{i \le r} \sigma_i^2 \ge \theta \sum_i \sigma_i^2 \}",
        "a whole number from 1 to k",
        EYM,
    ),
    "nuclear energy rank": Term(
        "Nuclear energy rank",
        "The smallest rank that keeps the asked share of the plain sum of singular values; larger than by squares.",
        r"\min \{ r : \textstyle\sum_{i \le r} \sigma_i \ge \theta \sum_i \sigma_i \}",
        "a whole number from 1 to k",
        "nuclear norm, Fan 1951",
    ),
    "error rank": Term(
        "Error rank",
        "The smallest rank whose relative error is at most the tolerance.",
        r"\min \{ r : \mathrm{error}(r) \le \varepsilon \}",
        "a whole number from 0 to k",
        EYM,
    ),
    "stable rank": Term(
        "Stable rank",
        "The number of directions as strong as the strongest one that would give the same energy.",
        r"\frac{\lVert W \rVert_F^2}{\lVert W \rVert_2^2} = \frac{\sum_i \sigma_i^2}{\sigma_1^2}",
        "a number from 1 to k",
        "Rudelson and Vershynin 2007",
    ),
    "entropy rank": Term(
        "Entropy rank",
        "The number of equally strong directions whose singular values would be spread as evenly as these.",
        r"\exp\Bigl( -\sum_i p_i \ln p_i \Bigr), \quad p_i = \frac{\sigma_i}{\sum_j \sigma_j}",
        "a number from 1 to k",
        "Roy and Vetterli 2007",
    ),
    "numerical rank": Term(
        "Numerical rank",
        "The number of singular values that are not mere rounding.",
        r"\#\{ i : \sigma_i > \max(m, n)\, 2^{-52}\, \sigma_1 \}",
        "a whole number from 0 to k",
        "Golub and Van Loan; the tolerance of numpy.linalg.matrix_rank",
    ),
    "marchenko-pastur edge": Term(
        "Marchenko-Pastur edge",
        "The largest singular value that pure noise with this layer's bulk would show.",
        r"s\,(\sqrt{N} + \sqrt{M}), \quad s = \frac{\operatorname{median}(\sigma)}{\sqrt{N \mu_{M/N}}}",
        "that of the weights, at least 0",
        "Marchenko and Pastur 1967; finite-size cushion of Johnstone 2001",
    ),
    "spikes": Term(
        "Spikes",
        "The number of singular values above the noise edge, directions that noise does not explain.",
        r"\#\{ i : \sigma_i > \mathrm{edge} \}",
        "a whole number from 0 to k",
        "Marchenko and Pastur 1967; Johnstone 2001",
    ),
    "gavish-donoho": Term(
        "Gavish-Donoho rank",
        "The rank that removes white noise of unknown size with the least error, a denoising view and not a budget.",
        r"\#\{ i : \sigma_i > \omega(M/N) \operatorname{median}(\sigma) \}",
        "a whole number from 0 to k",
        "Gavish and Donoho 2014",
    ),
    "evbmf": Term(
        "EVBMF rank",
        "The rank that a Bayesian model of low rank plus noise finds most likely, a lower guide on trained networks.",
        r"\#\{ i : \sigma_i > \sqrt{N v\, x_b} \}",
        "a whole number from 0 to k",
        "Nakajima, Sugiyama, Babacan and Tomioka 2013",
    ),
    "tail start": Term(
        "Tail start (detX)",
        "How many of the largest eigenvalues, scaled to mean 1, can be multiplied before the product drops below 1.",
        r"\max \Bigl\{ r : \prod_{i \le r} \frac{\lambda_i}{\bar{\lambda}} \ge 1 \Bigr\}",
        "a whole number from 1 to k",
        WW,
    ),
    "cost-penalised rank": Term(
        "Cost-penalised rank",
        "The rank beyond which one more direction, costing c, is worth less than its price w c.",
        r"\min_r\; \mathrm{error}(r)^2 + w\, c\, r",
        "a whole number from 0 to k",
        "Idelbayev and Carreira-Perpiñán 2020",
    ),
    "break-even rank": Term(
        "Break-even rank",
        "The largest rank that still costs less than the dense layer; above it a low-rank form saves nothing.",
        r"\max \{ r : r (m + n) < m n \}",
        "a whole number from 0 to k",
        "counting; tested against built layers",
    ),
}
