"""The parts of the page Initialisation: what a layer's function loses against its rank, and a whole network's start."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import frame, services, state, widgets
from app.glossary import help_text
from app.worker import Job
from core.compression.survey import Survey
from core.errors import InputError

CURVES, START = "function-curves", "network-start"
OBJECTIVES = {
    "": "as in the network",
    "relu": "ReLU",
    "linear": "nothing",
    "centred": "ReLU, mean absorbed",
    "bn": "BatchNorm, ReLU",
}
METHODS = {
    "spectral": "truncated SVD",
    "rescaled": "truncated, rows rescaled",
    "nkp": "searched row space",
    "orthogonal": "orthogonal, weights forgotten",
    "kaiming": "Kaiming, weights forgotten",
}
SCALES = {"optimal": "of least loss", "norm": "of the dense rows", "none": "of the projection"}


def page(survey: Survey) -> None:
    """Everything below the heading."""
    if not survey.runnable:
        st.info(
            "What follows a layer is read from its network, and this model cannot be run: "
            f"{frame.literal(survey.reason)}. Spectra tell what its weights alone do."
        )
        return
    _curves(survey)
    _start(survey)


def _curves(survey: Survey) -> None:
    """One layer: loss against rank."""
    st.markdown(
        "**What does the layer's function lose?** Over Gaussian inputs, exactly, for what follows the layer",
        help=help_text("function loss"),
    )
    names = [layer.view.name for layer in survey.layers if not layer.obstacle]
    if not names:
        st.info("No layer of this model can take another rank.")
        return
    now = state.get()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        at = names.index(now.primary) if now.primary in names else 0
        layer = st.selectbox("Layer", names, at, key=f"start-layer-{survey.model.digest[:8]}", width=320)
        objective = widgets.choice("What follows it", OBJECTIVES, "start-objective")
    made = _done(CURVES, "Decomposing", "function_curves", layer=layer, objective=objective)
    if made is None:
        return
    from app.figures.function_loss import function_loss_alt, function_loss_figure, function_loss_table

    figure = function_loss_figure(made, look=widgets.look())
    name = f"{survey.model.name}-{layer}-function"
    widgets.figure(figure, function_loss_alt(made), function_loss_table(made), name)
    widgets.caption(
        f"In this network: {frame.literal(made['context'])}. Drawn for: "
        f"{OBJECTIVES.get(made['objective'], frame.literal(made['objective']))}. Real inputs are not Gaussian: a "
        f"trained layer is better served by fits to its own inputs, as Tune makes them. {frame.literal(made['note'])}"
    )


def _start(survey: Survey) -> None:
    """The whole network at one rank fraction."""
    st.markdown(
        "**A network started low-rank**: every layer in two factors, by what follows it",
        help=help_text("low-rank start"),
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        fraction = st.select_slider(
            "Rank, share of the full", [i / 20 for i in range(1, 20)], 0.25, format_func=lambda f: f"{100 * f:.0f} %",
            key="start-fraction", width=320,
        )  # fmt: skip
        method = st.selectbox(
            "Factors", list(METHODS), 1, format_func=METHODS.__getitem__, key="start-method", width=260
        )
        scale = st.selectbox("Norms", list(SCALES), 0, format_func=SCALES.__getitem__, key="start-scale", width=220)
    made = _done(START, "Starting", "network_start", fraction=fraction, method=method, scale=scale)
    if made is None:
        return
    rows = made["layers"]
    left, middle, right = st.columns(3)
    left.metric("Parameters", f"{made['after']:,}", f"{made['before']:,} dense", delta_color="off", border=True)
    started = [row for row in rows if row["rank"]]
    middle.metric("Layers in factors", f"{len(started)} of {len(rows)}", border=True, height="stretch")
    lost = sum(row["loss"] for row in started) / len(started) if started else None
    spectral = sum(row["spectral"] for row in started) / len(started) if started else None
    words = f"truncated SVD {frame.percent(spectral)}" if spectral is not None else ""
    value = frame.percent(lost) if lost is not None else "–"
    right.metric(
        "Function lost, mean of layers", value, words, delta_color="off", border=True, help=help_text("function loss")
    )
    percent = st.column_config.NumberColumn(format="percent")
    widgets.numbers(
        {
            "layer": [row["layer"] for row in rows],
            "rank": [row["rank"] or None for row in rows],
            "what follows": [row["words"] for row in rows],
            "factors": [row["method"] for row in rows],
            "function lost": [row["loss"] if row["rank"] else None for row in rows],
            "by truncated SVD": [row["spectral"] if row["rank"] else None for row in rows],
            "stays dense because": [row["skipped"] for row in rows],
        },
        f"{survey.model.name}-start",
        config={"function lost": percent, "by truncated SVD": percent},
        alt="Every layer with its rank, what follows it, and what its function loses.",
    )
    widgets.caption("Predicted over Gaussian inputs, not measured; a lower loss at the start need not train better.")


def _done(key: str, title: str, do: str, **arguments: Any) -> Any:
    """The result of a job that is asked for at once; None while it is made, or where it cannot be."""
    try:
        job: Job = services.submit(do, state.get().model, **arguments)
    except InputError as error:
        st.error(frame.literal(str(error)), icon=":material/error:")
        return None
    state.job(key, job.id)
    if job.state == "done":
        return job.result
    if job.state == "failed":
        st.error(frame.literal(job.error), icon=":material/error:")
        return None
    frame.follow(job, title, lambda _: None)
    return None
