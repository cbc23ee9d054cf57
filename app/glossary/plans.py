"""Words about forms, costs and how plans are chosen."""

from __future__ import annotations

from app.glossary.term import HERE, Term

FORMS: dict[str, Term] = {
    "form": Term("Form", "How one layer is stored: dense, low-rank, spatial or sparse.", "", "none", HERE),
    "plan": Term(
        "Plan", "A form for every layer, the thing that is tuned, saved, shared and exported.", "", "none", HERE
    ),
    "dense": Term(
        "Dense",
        "The layer as it is, exact, and cheaper than a low-rank form above break-even.",
        r"y = W x + b",
        "none",
        HERE,
    ),
    "low-rank": Term(
        "Low-rank",
        "The layer as two thinner ones; for a convolution first k × k into r channels, then 1 × 1.",
        r"y = A (B x) + b",
        "r (m + n) parameters",
        "Zhang, Zou, He and Sun 2016",
    ),
    "function loss": Term(
        "Function loss",
        "What a layer's outputs behind its activation lose, relative to their size, over Gaussian inputs.",
        r"\frac{E \lVert f(W x) - f(Y x) \rVert^2}{E \lVert f(W x) \rVert^2}",
        "a share, 0 for the layer itself and 1 for none of it",
        "the question: Vodrahalli et al. 2022; the formulas are this project's",
    ),
    "low-rank start": Term(
        "Low-rank start",
        "A network whose layers begin as two factors that keep their function, to be trained from there.",
        "",
        "none",
        "the idea: Vodrahalli et al. 2022; what is skipped: Khodak et al. 2021",
    ),
    "low-rank, inputs first": Term(
        "Low-rank, inputs first",
        "A convolution as 1 × 1 into r channels, then k × k, which pays where there are many input channels.",
        "",
        r"r (c + o k²) parameters for c inputs and o outputs",
        "Denton, Zaremba, Bruna, LeCun and Fergus 2014",
    ),
    "spatial low-rank": Term(
        "Spatial low-rank",
        "A convolution as k × 1 into r channels, then 1 × k.",
        "",
        "r (c k + o k) parameters for c inputs and o outputs",
        "Jaderberg, Vedaldi and Zisserman 2014",
    ),
    "sparse": Term(
        "Sparse",
        "Only the largest weights stay and the others are zero, which saves time only with a sparse kernel.",
        "",
        "per cent of the weights kept",
        "Han, Pool, Tran and Dally 2015",
    ),
    "2:4": Term(
        "2:4 sparse",
        "The two largest of every four neighbouring weights stay, the pattern that some GPUs run faster.",
        "",
        "always 50 % of the weights kept",
        "Mishra et al. 2021",
    ),
    "filters": Term(
        "Whole filters",
        "Whole rows or filters stay or go, as a mask unless they are removed for real.",
        "",
        "rows kept, from 1 to m",
        "Li, Kadav, Durdanovic, Samet and Graf 2017",
    ),
    "random weights": Term(
        "Random weights",
        "Weights drawn by a seed stay, unscaled, and the others are zero: what a choice of weights has to beat.",
        r"\mathrm{error}^2 = 1 - q / (m n) \ \text{on average}",
        "per cent of the weights kept",
        "derived; the file needs 8 bytes for the seed and no other index",
    ),
    "low-rank + sparse": Term(
        "Low-rank + sparse",
        "Two thinner layers and beside them a masked one whose outputs are added, which saves no executed MACs.",
        r"y = A (B x) + S x + b",
        "r (m + n) parameters, and the entries of S",
        "alternating projections of GoDec, Zhou and Tao 2011",
    ),
    "iso-budget curve": Term(
        "Iso-budget curve",
        "The error at every rank where the parameters or bytes that the rank leaves are spent on sparse weights.",
        r"r (m + n) + q = \mathrm{budget}",
        "relative Frobenius error against rank",
        HERE,
    ),
    "removed rows": Term(
        "Removed rows",
        "Masked rows taken out of the tensors with the columns that read them, so that MACs and time fall too.",
        "",
        "none",
        "Li, Kadav, Durdanovic, Samet and Graf 2017; costs are counted on the smaller network",
    ),
    "coupled layers": Term(
        "Coupled layers",
        "Layers whose outputs are added, as along a shortcut, so that the same rows must go in all of them.",
        "",
        "none",
        "Fang, Ma, Song, Bi Mi and Wang 2023 (torch-pruning)",
    ),
    "density": Term("Density", "The share of the weights that are not zero.", "", "a share from 0 to 1", HERE),
    "sparsity": Term(
        "Sparsity", "The share of the weights that are zero.", r"1 - \mathrm{density}", "a share from 0 to 1", HERE
    ),
    "gaussian weights": Term(
        "Gaussian weights",
        "What keeping the largest weights would lose if the weights were independent normal numbers.",
        r"\mathrm{error}^2 = 1 - 2 \bigl( t \varphi(t) + 1 - \Phi(t) \bigr)",
        "a share from 0 to 1",
        "derived, from the second moment of a normal variable beyond t",
    ),
}

COSTS: dict[str, Term] = {
    "parameters": Term("Parameters", "Weights and biases that are not zero by construction.", "", "a count", HERE),
    "MACs": Term(
        "MACs",
        "Multiply-adds that one sample takes in dense kernels, where 1 MAC is 2 FLOPs and biases are not counted.",
        "",
        "a count per sample",
        "checked against torch's FlopCounterMode",
    ),
    "useful MACs": Term(
        "MACs on non-zeros",
        "Multiply-adds that touch a non-zero weight, which a dense kernel does not skip.",
        "",
        "a count per sample",
        HERE,
    ),
    "bytes": Term(
        "Bytes", "Size on disk: the values in their stored type, and the index of a sparse form.", "", "bytes", HERE
    ),
    "kept fraction": Term(
        "Kept fraction",
        "What the plan costs over what the dense network costs.",
        r"\frac{\mathrm{compressed}}{\mathrm{dense}}",
        "a share, in (0, 1] if it saves, shown in per cent",
        HERE,
    ),
    "compression ratio": Term(
        "Compression ratio",
        "How many times smaller the plan is than the dense network.",
        r"\frac{\mathrm{dense}}{\mathrm{compressed}}",
        'a factor, shown as "4×"',
        HERE,
    ),
    "budget": Term("Budget", "A limit on parameters, MACs or bytes.", "", "a count, or a share of dense", HERE),
    "uniform": Term(
        "Uniform",
        "Every layer may keep the same share of its cost, the largest that fits the budget.",
        "",
        "none",
        HERE,
    ),
    "equal error": Term(
        "Equal error",
        "Every layer may lose the same predicted error, the smallest that fits the budget.",
        r"\min_{\text{plan}} \max_{\text{layers}} \mathrm{error}",
        "none",
        "Liebenwein, Maalouf, Gal, Feldman and Rus 2021 (ALDS)",
    ),
    "greedy": Term(
        "Greedy",
        "The step that saves most damage per cost is taken first, until the budget is spent.",
        r"\max \frac{-\Delta\,\mathrm{damage}}{\Delta\,\mathrm{cost}}",
        "none",
        "lower convex hull of the multiple-choice knapsack, Sinha and Zoltners 1979",
    ),
    "exact": Term(
        "Exact",
        "The best choice of one form per layer under the budget, by integer programming.",
        r"\min \sum_{\ell} e_{\ell}(f_{\ell}) \ \text{so that}\ \sum_{\ell} c_{\ell}(f_{\ell}) \le \mathrm{budget}",
        "none",
        "multiple-choice knapsack; HiGHS, Huangfu and Hall 2018, through scipy",
    ),
    "lock": Term("Lock", "A layer whose form the dial and the solver leave alone.", "", "none", HERE),
    "obstacle": Term(
        "Obstacle", "Why a layer cannot take a form, so that every layer is accounted for.", "", "none", HERE
    ),
}
