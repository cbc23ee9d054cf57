"""Sensitivity on Trade-offs: what each layer costs the network alone, and whether any spectral score foretells it."""

from __future__ import annotations

import streamlit as st

from app import additivity_panel, frame, run_panels, services, state, widgets
from app.glossary import help_text
from core.compression.survey import Survey
from core.errors import InputError
from core.jobs.records import Run

POLL = 2.0


def page(survey: Survey) -> None:
    """The latest measurement of this model on this data, or the button that starts one."""
    run = _latest(survey)
    if run is None or run.state in ("failed", "cancelled"):
        if run is not None and run.error:
            st.error(frame.literal(run.error), icon=":material/error:")
        _offer(survey)
        return
    going = run.going or additivity_panel.going(survey, run.id)
    st.fragment(_found, run_every=POLL if going else None)(survey, run.id, going)


def _latest(survey: Survey) -> Run | None:
    from core.jobs.sensitivities import KIND

    return next(iter(services.runs_of(survey, KIND)), None)


def _offer(survey: Survey) -> None:
    st.markdown(
        "**Which layers can least be spared?** Each is compressed alone, at ten levels, and the damage to the answers "
        "of the network is measured on 256 training examples. The run goes on without this page."
    )
    if st.button("Measure sensitivity", icon=":material/speed:", key="sensitivity", help=help_text("damage")):
        from core.jobs.sensitivities import SensitivitySpec

        try:
            services.sensitivity(
                SensitivitySpec(
                    **services.subject(survey),
                    layers=tuple(layer.view.name for layer in survey.layers if not layer.obstacle),
                )
            )
        except InputError as error:
            state.notice(str(error))
        st.rerun()


def _found(survey: Survey, id: str, going: bool) -> None:
    """The run while it goes on, and what it has found so far."""
    from core.jobs.sensitivities import found_in

    run = services.store().run(id)
    if run is None or (going and not run.going and not additivity_panel.going(survey, id)):
        st.rerun()
    assert run is not None
    if not run.over:
        run_panels.progress(run)
    found = found_in(services.run_points([id]))
    if not found:
        return
    from app.figures.sensitivity import proxy_figure, sensitivity_alt, sensitivity_figure, sensitivity_table
    from core.compression.proxies import proxies

    look = widgets.look()
    st.markdown("**Damage of each layer alone**, measured", help=help_text("damage"))
    widgets.figure(
        sensitivity_figure(found, survey, look=look),
        sensitivity_alt(found, survey),
        sensitivity_table(found, survey),
        f"{survey.model.name}-sensitivity",
    )
    notes = {entry.note for entry in found if entry.note}
    widgets.caption(
        f"{found[0].samples} training examples, factors {found[0].fit}. Measured one layer at a time in the otherwise "
        f"dense network. {' '.join(sorted(map(frame.literal, notes)))}"
    )
    if run.over:
        additivity_panel.panel(survey, run, found)
    scores = {proxy.name: proxy for proxy in proxies(survey, found) if proxy.n}
    st.markdown("**Does a spectrum foretell it?** Rank correlation of every score with the measured damage")
    order = sorted(scores.values(), key=lambda proxy: -abs(proxy.rho or 0.0))
    left, right = st.columns([2, 3])
    with left:
        widgets.numbers(
            {
                "score": [proxy.label for proxy in order],
                "Spearman's ρ": [proxy.rho for proxy in order],
                "points": [proxy.n for proxy in order],
            },
            f"{survey.model.name}-proxies",
            config={"Spearman's ρ": st.column_config.NumberColumn(format="%.2f")},
            alt="Rank correlation of every spectral score with the measured damage.",
        )
    with right:
        chosen = st.selectbox(
            "Score", [proxy.name for proxy in order], format_func=lambda name: scores[name].label, key="proxy"
        )
        proxy = scores[chosen]
        widgets.figure(
            proxy_figure(proxy, survey, look=look),
            f"Measured damage against {proxy.label}: rank correlation "
            f"{'not defined' if proxy.rho is None else f'{proxy.rho:.2f}'} over {proxy.n} points.",
            {
                "layer": [point.layer for point in proxy.points],
                "level": [point.level for point in proxy.points],
                proxy.label: [point.score for point in proxy.points],
                "damage": [point.damage for point in proxy.points],
            },
            f"{survey.model.name}-proxy",
        )
