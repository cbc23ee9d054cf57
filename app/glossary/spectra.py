"""Words about spectra and what diagnostics read from them."""

from __future__ import annotations

from app.glossary.term import EYM, HERE, WW, Term

SPECTRA: dict[str, Term] = {
    "singular value": Term(
        "Singular value",
        "How strongly the layer acts along one of its k independent directions, sorted from the largest.",
        r"W = \sum_{i=1}^{k} \sigma_i\, u_i v_i^{\top}, \quad \sigma_1 \ge \dots \ge \sigma_k \ge 0",
        "that of the weights, at least 0",
        EYM,
    ),
    "plain spectrum": Term(
        "Plain spectrum",
        "The singular values of the weights alone, which say how well a lower rank reproduces the weights.",
        r"\sigma_1 \ge \sigma_2 \ge \dots \ge \sigma_k",
        "that of the weights, at least 0",
        EYM,
    ),
    "whitening": Term(
        "Whitening",
        "Weighting the layer by the inputs it really receives, so that directions that never occur cost nothing.",
        r"G = \operatorname{mean}_x x x^{\top}, \quad W \mapsto W G^{1/2}",
        "that of the layer's output",
        "Wang et al. 2024 (SVD-LLM), with a symmetric root",
    ),
    "whitened spectrum": Term(
        "Whitened spectrum",
        "The singular values of the layer seen through its inputs, whose tail is exactly the error of its outputs.",
        r"\operatorname{mean}_x \lVert (W - AB) x \rVert^2 = \sum_{i > r} \sigma_i(W G^{1/2})^2",
        "that of the layer's output, at least 0",
        "Wang et al. 2024 (SVD-LLM); the identity is tested here",
    ),
    "rank": Term(
        "Rank",
        "The number of directions a low-rank form keeps; fewer directions, fewer parameters, more error.",
        r"W \approx A B, \quad A \in \mathbb{R}^{m \times r},\ B \in \mathbb{R}^{r \times n}",
        "a whole number from 1 to k",
        EYM,
    ),
    "tail": Term(
        "Tail",
        "The size of everything that rank r leaves out.",
        r"\mathrm{tail}(r) = \sqrt{\sum_{i > r} \sigma_i^2} = \lVert W - W_r \rVert_F",
        "that of the weights, at least 0",
        EYM,
    ),
    "energy": Term(
        "Energy",
        "The share of the sum of squared singular values that the first r of them hold.",
        r"\mathrm{energy}(r) = \frac{\sum_{i \le r} \sigma_i^2}{\sum_i \sigma_i^2}",
        "a share from 0 to 1, shown in per cent",
        EYM,
    ),
    "error": Term(
        "Error",
        "How far the best rank-r weights are from the original ones, relative to their size.",
        r"\mathrm{error}(r) = \frac{\lVert W - W_r \rVert_F}{\lVert W \rVert_F} = \sqrt{1 - \mathrm{energy}(r)}",
        "a share from 0 to 1, shown in per cent",
        EYM,
    ),
    "output error": Term(
        "Output error",
        "How far the layer's outputs on the calibration batch move, relative to their size.",
        r"\frac{\lVert (W - \hat{W}) X \rVert_F}{\lVert W X \rVert_F}",
        "a share, usually from 0 to 1, shown in per cent",
        "Wang et al. 2024 (SVD-LLM)",
    ),
    "output energy": Term(
        "Output energy",
        "The share of the layer's squared outputs on the calibration batch that its first r whitened directions hold.",
        r"\frac{\sum_{i \le r} \sigma_i(W G^{1/2})^2}{\sum_i \sigma_i(W G^{1/2})^2}",
        "a share from 0 to 1, shown in per cent",
        "Wang et al. 2024 (SVD-LLM)",
    ),
    "damage": Term(
        "Damage",
        "What the whole network's answers lose when only this layer is compressed, on the calibration batch.",
        r"\operatorname{mean}_x \sum_c p_c(x) \ln \frac{p_c(x)}{q_c(x)}",
        "nats, at least 0",
        "Kullback and Leibler 1951",
    ),
    "reference spectrum": Term(
        "Reference spectrum",
        "The spectrum of another matrix of this shape, drawn dotted: freshly initialised, shuffled, or another file's.",
        "",
        "that of the weights",
        HERE,
    ),
    "shuffled baseline": Term(
        "Shuffled baseline",
        "The spectrum of the same weights in random order, which keeps their values and destroys their structure.",
        "",
        "that of the weights",
        WW,
    ),
}

DIAGNOSTICS: dict[str, Term] = {
    "log norm": Term(
        "Log norm",
        "The size of the layer on a logarithmic scale.",
        r"\log_{10} \lVert W \rVert_F^2",
        "powers of ten, any sign",
        WW,
    ),
    "log spectral norm": Term(
        "Log spectral norm",
        "The largest amplification of the layer on a logarithmic scale.",
        r"\log_{10} \lVert W \rVert_2^2 = \log_{10} \lambda_1",
        "powers of ten, any sign",
        WW,
    ),
    "log alpha norm": Term(
        "Log alpha norm",
        "The sum of the eigenvalues raised to the tail exponent, on a logarithmic scale.",
        r"\log_{10} \sum_i \lambda_i^{\alpha}",
        "powers of ten, any sign",
        WW,
    ),
    "alpha": Term(
        "Alpha",
        "The exponent of the power law that the largest eigenvalues follow; a small one means a heavy tail.",
        r"p(\lambda) \propto \lambda^{-\alpha}, \quad \alpha = 1 + \frac{n}{\sum_j \ln(\lambda_j / \lambda_{\min})}",
        "a number above 1, called over-trained below 2 and under-trained above 6",
        "Martin and Mahoney 2021; fit of Clauset, Shalizi and Newman 2009",
    ),
    "alpha standard error": Term(
        "Standard error of alpha",
        "How far alpha would scatter if the tail were drawn again.",
        r"\frac{\alpha - 1}{\sqrt{n}}",
        "as alpha, at least 0",
        "Clauset, Shalizi and Newman 2009",
    ),
    "alpha distance": Term(
        "Fit distance of alpha",
        "The largest gap between the tail and the fitted power law; 0 is a perfect fit.",
        r"\max_x \lvert F_{\mathrm{tail}}(x) - F_{\mathrm{fit}}(x) \rvert",
        "a number from 0 to 1",
        "Kolmogorov-Smirnov distance, as in Clauset, Shalizi and Newman 2009",
    ),
    "alpha tail": Term(
        "Tail of alpha",
        "How many of the largest eigenvalues the power law was fitted to.",
        r"\#\{ i : \lambda_i \ge \lambda_{\min} \}",
        "a whole number from 0 to k",
        "Clauset, Shalizi and Newman 2009",
    ),
    "alpha weighted": Term(
        "Alpha-hat",
        "Alpha weighted by the size of the largest eigenvalue.",
        r"\hat{\alpha} = \alpha \log_{10} \lambda_1",
        "powers of ten, any sign",
        WW,
    ),
    "matrix entropy": Term(
        "Matrix entropy",
        "How evenly the energy is spread over the directions, 1 being perfectly even.",
        r"-\frac{\sum_i q_i \ln q_i}{\ln(\mathrm{rank})}, \quad q_i = \frac{\lambda_i}{\sum_j \lambda_j}",
        "a number from 0 to 1",
        WW,
    ),
    "mp soft rank": Term(
        "MP soft rank",
        "How far the largest eigenvalue stands out of the noise; at 1 or above it does not.",
        r"\frac{\mathrm{edge}^2}{\lambda_1}",
        "a number above 0",
        WW,
    ),
    "eigenvalue histogram": Term(
        "Eigenvalue histogram",
        "How many eigenvalues lie in each logarithmic interval, in which a power law is a straight line.",
        r"\lambda_i = \sigma_i^2",
        "a count per bin",
        WW,
    ),
}
