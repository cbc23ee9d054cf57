"""Words about what is measured, and about repair."""

from __future__ import annotations

from app.glossary.term import HERE, Term

MEASURED: dict[str, Term] = {
    "predicted": Term(
        "Predicted", "Computed from spectra and the calibration batch, without measuring accuracy.", "", "none", HERE
    ),
    "measured": Term(
        "Measured",
        "Found by running the network on test data, with the number of samples and the seed.",
        "",
        "none",
        HERE,
    ),
    "accuracy": Term(
        "Accuracy",
        "The share of test samples whose most likely class is the right one.",
        r"\hat{p} = \frac{\#\text{right}}{n}",
        "a share from 0 to 1, shown in per cent",
        HERE,
    ),
    "binomial spread": Term(
        "Binomial spread",
        "The standard error of an accuracy measured on n samples; the truth is within two of them in 19 of 20 cases.",
        r"\sqrt{\frac{\hat{p} (1 - \hat{p})}{n}}",
        "as accuracy, shown in percentage points",
        "binomial distribution",
    ),
    "latency": Term(
        "Latency",
        "Wall-clock time of one forward pass, dense and plan in turn on one thread, as median and quartiles.",
        "",
        "milliseconds per pass",
        HERE,
    ),
    "A/A spread": Term(
        "A/A spread",
        "The difference that the dense network shows against itself; a smaller one is no difference.",
        "",
        "milliseconds per pass",
        HERE,
    ),
    "calibration batch": Term(
        "Calibration batch",
        "Training samples without their labels, from which the layers' inputs are taken.",
        "",
        "a number of samples",
        HERE,
    ),
    "calibration distance": Term(
        "Calibration distance",
        "How far the outputs on the calibration batch are from the original network's, relative to their size.",
        r"\frac{\lVert \hat{Y} - Y \rVert_F}{\lVert Y \rVert_F}",
        "a share, at least 0, shown in per cent",
        HERE,
    ),
    "additivity": Term(
        "Additivity",
        "Whether the damage of a plan is the sum of the damages that its layers do alone, as allocators assume.",
        r"d(\text{plan}) \approx \sum_l d_l",
        "nats, or relative squared error without classes",
        HERE,
    ),
    "repair": Term(
        "Repair",
        "Steps without labels or training after compression, each kept only where it helps on the calibration batch.",
        "",
        "none",
        HERE,
    ),
    "sequential fit": Term(
        "Sequential fit",
        "Each layer in turn learns to give its original outputs from what the compressed layers before it deliver.",
        r"\min_{A, B} \lVert Y - A B X' \rVert_F^2 + \lambda \lVert A B - W \rVert_F^2",
        "none",
        "reduced-rank regression, Izenman 1975; the sequence is this project's",
    ),
    "batchnorm re-estimation": Term(
        "BatchNorm re-estimation",
        "The running means and variances are taken anew from the compressed network on the calibration batch.",
        r"\mu_c = \operatorname{mean}(x_c), \quad s_c^2 = \operatorname{var}(x_c)",
        "none",
        "BatchNorm, Ioffe and Szegedy 2015",
    ),
    "bias correction": Term(
        "Bias correction",
        "The mean shift of a layer's outputs is added back to its bias, for layers without BatchNorm.",
        r"b \leftarrow b + \operatorname{mean}(y - \hat{y})",
        "that of the layer's output",
        "Nagel, van Baalen, Blankevoort and Welling 2019",
    ),
}
