"""The layer in hand as low rank + sparse: two sliders that spend one budget together, and the error along it.

The weights lie with the worker, so it makes the curve, as a job; both sliders are places on that curve, so whichever is
moved, the budget holds.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import frame, services, state, widgets
from app.glossary import help_text
from app.worker import Job
from core.compression.plans import Plan
from core.compression.survey import Survey
from core.errors import InputError
from core.keys import key
from core.networks.costs import Cost
from core.networks.forms import Dense, LowRankSparse, form_words, low_rank_and_sparse
from core.networks.views import LayerView

Json = dict[str, Any]

AT_ONCE = 2**16
"""Entries of a layer up to which its curve is made without being asked (chosen: about a second)."""

KEEP, QUANTITY, JOB = "iso-budget-keep", "iso-budget-quantity", "iso-budget"
UNITS = {"params": "Parameters", "bytes": "Bytes"}


def panel(survey: Survey, plan: Plan, now: state.Selection) -> None:
    """Budget, sliders, what the pair costs and loses, and the curve."""
    layer = survey.layer(now.primary)
    if layer.obstacle:
        st.info(f"{frame.literal(now.primary)} stays dense: {frame.literal(layer.obstacle)}.")
        return
    view = layer.view
    name = frame.literal(view.name)
    st.markdown(f"**{name}**, {view.shape_text}: low rank + sparse on one budget", help=help_text("low-rank + sparse"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if state.value(KEEP) is None:
            state.keep(KEEP, 50)
        keep = st.number_input(
            "Budget, % of the dense layer", 1, 100, key=KEEP, help=help_text("iso-budget curve"), width=240
        )
        quantity = widgets.choice("Of its", UNITS, QUANTITY, term="bytes")
    found = _curve(now, view, quantity, keep / 100)
    if found is None:
        return
    if not found["pairs"]:
        st.info("Not even one weight fits this budget beside the bias and the index; raise it.")
        return
    _pair(survey, plan, view, found, quantity)


def _curve(now: state.Selection, view: LayerView, quantity: str, keep: float) -> Json | None:
    """What the worker found along the budget; until then how far it is, or the button that asks for it."""
    asked = (now.model, now.arch, view.name, quantity, keep)
    job = services.job(state.job(JOB))
    if job is None or state.value(f"{JOB}-of") != asked:
        if job is not None and not job.over:
            services.cancel(job.id)
        job = _ask(now, asked) if view.size <= AT_ONCE else None
    if job is not None and job.state == "done":
        return job.result  # type: ignore[no-any-return]
    if job is not None and not job.over:
        frame.follow(job, "Splitting", lambda _: None)
        return None
    if job is not None and job.state == "failed":
        st.error(frame.literal(job.error), icon=":material/error:")
    if st.button("Find the error along this budget", icon=":material/timeline:", key="iso-budget-ask"):
        _ask(now, asked)
        st.rerun()
    return None


def _ask(now: state.Selection, asked: tuple[str, str, str, str, float]) -> Job | None:
    """The job that makes the curve; None, with a notice, if the model cannot be found."""
    state.keep(f"{JOB}-of", asked)
    _, _, layer, quantity, keep = asked
    try:
        job = services.submit("iso_budget", now.model, layer=layer, quantity=quantity, keep=keep)
    except InputError as error:
        state.job(JOB, "")
        state.notice(str(error))
        return None
    state.job(JOB, job.id)
    return job


def _pair(survey: Survey, plan: Plan, view: LayerView, found: Json, quantity: str) -> None:
    """Sliders, numbers and button of the pair in hand beside the curve."""
    from app.figures.iso_budget import iso_budget_alt, iso_budget_figure, iso_budget_table

    pairs = [tuple(pair) for pair in found["pairs"]]
    above = st.container()
    left, right = st.columns([2, 3])
    with left:
        at = _sliders(plan, view, pairs, found["errors"], quantity)
        form = low_rank_and_sparse(*pairs[at])

        def use() -> None:
            latest = state.get().plan or plan
            if isinstance(form, LowRankSparse) and state.get().quantity == "macs":
                state.put(quantity=quantity)
            state.change_plan(latest.with_form(view.name, form))

        st.button(
            "Use it for this layer",
            icon=":material/check:",
            key="iso-budget-use",
            on_click=use,
            disabled=plan.form(view.name) == form,
            help="Puts it into the plan; Undo takes it back. If the plan is counted in MACs, of which this form saves "
            "none, it is counted in the unit of this budget from then on.",
        )
        st.markdown(f"{form_words(form, view).capitalize()}.")
    with right:
        args = (pairs, found["errors"], view.size)
        widgets.figure(
            iso_budget_figure(*args, at, look=widgets.look()),
            iso_budget_alt(*args),
            iso_budget_table(*args),
            f"{survey.model.name}-{view.name}-low-rank-sparse",
            config={
                "share of weights": st.column_config.NumberColumn(format="percent"),
                "weight error": st.column_config.NumberColumn(format="percent", help=help_text("error")),
            },
        )
        count = f"{len(pairs)} pair{'' if len(pairs) == 1 else 's'}"
        widgets.caption(f"Computed from the weights, before any repair: {count} in {found['seconds']:.1f} s.")
    with above:
        _numbers(form.cost(view), Dense().cost(view), found["errors"][at])


def _sliders(plan: Plan, view: LayerView, pairs: list[tuple[int, int]], errors: list[float], quantity: str) -> int:
    """The place on the curve: at first that of the form the plan has, else the one that loses least."""
    form = low_rank_and_sparse(*pairs[0])
    if len(pairs) == 1:
        st.markdown(f"No rank fits this budget beside the sparse part: {form_words(form, view)}, or a larger budget.")
        return 0
    name = key([view.name, quantity, pairs])[:12]
    rank, share = f"iso-budget-rank-{name}", f"iso-budget-share-{name}"
    if state.value(rank) is None:
        had = [i for i, pair in enumerate(pairs) if low_rank_and_sparse(*pair) == plan.form(view.name)]
        best = (*had, min(range(len(pairs)), key=errors.__getitem__))[0]
        state.keep(rank, best)
        state.keep(share, best)
    places = range(len(pairs))
    at: int = st.select_slider(
        "Rank",
        list(places),
        key=rank,
        format_func=lambda i: str(pairs[i][0]),
        help=help_text("rank"),
        on_change=state.changed(rank, lambda i: state.keep(share, i)),
    )
    st.select_slider(
        "Sparse part, % of the weights",
        list(reversed(places)),
        key=share,
        format_func=lambda i: f"{100 * pairs[i][1] / view.size:.1f} %",
        help=help_text("density"),
        on_change=state.changed(share, lambda i: state.keep(rank, i)),
    )
    return at


def _numbers(cost: Cost, dense: Cost, error: float) -> None:
    """What the pair loses and costs, each over the dense layer."""
    rows = [("Weight error", frame.percent(error), None, "error")]
    for label, quantity, term in (
        ("Parameters", "params", "parameters"),
        ("Bytes", "bytes", "bytes"),
        ("MACs executed", "macs", "MACs"),
        ("MACs on non-zeros", "useful_macs", "useful MACs"),
    ):
        count, whole = getattr(cost, quantity), getattr(dense, quantity)
        rows.append(
            (label, frame.percent(count / whole) if whole else "unknown", f"{count:,}" if whole else None, term)
        )
    for column, (label, value, count, term) in zip(st.columns(len(rows)), rows, strict=True):
        column.metric(
            label,
            value,
            count,
            delta_color="off",
            delta_arrow="off",
            help=help_text(term),
            border=True,
            height="stretch",
        )
