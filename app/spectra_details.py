"""The lower half of the Spectra page: what else is known of the layer in hand, and of the whole network."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app import frame, references, spectra_rows, state, tuning, widgets
from app.glossary import ALIASES, GLOSSARY, help_text
from app.spectra_controls import BELOW, matrix_in_hand, points, redraw
from core.catalogue import RankMark
from core.compression.plans import Plan
from core.compression.survey import LayerSurvey, Survey
from core.networks.forms import FAMILIES, Dense, family_of
from core.numerics.svd import Spectrum

RULES = "spectra-rule-rows"
_COMPACT = f"""<style>
@media (max-width: 640px) {{
  .st-key-{RULES} {{ gap: 0.25rem; }}
  .st-key-{RULES} button {{ min-height: 1.75rem; padding: 0 0.5rem; }}
}}
</style>"""
"""Rules in lines as low as a finger allows on a narrow window, which has them under one another."""


@st.fragment(key=BELOW)
def below(survey: Survey) -> None:
    """One tab at a time is computed and sent."""
    state.mirror()
    now = state.get()
    layer = survey.layer(now.primary) if survey.layers else None
    if layer is None:
        st.info("This file has no layer with a weight matrix. Open another model.")
        return
    titles: dict[str, Callable[[Survey, LayerSurvey], None]] = {
        "Rank rules": _rules,
        "Error curves": _errors,
        "Eigenvalues": _eigenvalues,
        "All layers": _all_layers,
        "Ledger": _ledger,
    }
    if state.value("spectra-tabs") != state.value("spectra-tab"):
        state.keep("spectra-tabs", state.value("spectra-tab"))
    open_one = state.changed("spectra-tabs", lambda title: state.keep("spectra-tab", title))
    tabs = st.tabs(list(titles), key="spectra-tabs", on_change=open_one)
    for tab, draw in zip(tabs, titles.values(), strict=True):
        if tab.open:
            with tab:
                draw(survey, layer)


def _rules(survey: Survey, layer: LayerSurvey) -> None:
    """What every rule says of the layer in hand, on one plot, each with a button that hands its rank to Tune."""
    from app.figures.rules import rules_alt, rules_figure, rules_table

    matrix = matrix_in_hand(survey)
    spectrum = _heading(survey, layer, "rank rules")
    if spectrum is None:
        return
    view, family = layer.view, _family(layer, matrix)
    marks = spectra_rows.marks(spectrum)
    even = FAMILIES[family].break_even(view, "params") if family else None
    edge = spectra_rows.diagnostics_of(spectrum).mp_edge if matrix != "whitened" else None
    left, right = st.columns([4, 3], gap="medium")
    with left:
        widgets.figure(
            rules_figure(spectrum, marks, edge, even, points=points(), look=widgets.look(), height=300),
            rules_alt(marks, even),
            rules_table(spectrum, marks, even),
            f"{survey.model.name}-{view.name}-rules",
            key="spectra-rules",
        )
    with right:
        _hand_over(survey, layer, family, spectrum, marks, even)


def _hand_over(
    survey: Survey, layer: LayerSurvey, family: str, spectrum: Spectrum, marks: tuple[RankMark, ...], even: int | None
) -> None:
    """One row a rule: its name and meaning, its rank and energy, and the button."""
    name, plan = layer.view.name, state.get().plan or Plan(survey.model)
    energy = "its outputs' energy" if matrix_in_hand(survey) == "whitened" else "its energy"
    form = plan.form(name)
    says = "dense" if isinstance(form, Dense) else f"{family_of(form).label_on(layer.view)}, {form.level}"
    if family:
        st.markdown(f"In Tune this layer is **{says}**; a button gives it that rank.", help=help_text("plan"))
    else:
        st.info(f"It stays dense in Tune: {frame.literal(layer.obstacle or 'this matrix has no form')}.")

    def use(rank: int) -> None:
        new = tuning.edited(survey, state.get().plan or plan, name, family, rank, "rank")
        state.put(mode="rank", primary=name)
        state.change_plan(new)
        redraw(BELOW)

    st.html(_COMPACT)
    with st.container(gap="xsmall", key=RULES):
        for mark in sorted(marks, key=lambda mark: (mark.rank, mark.label)):
            term = ALIASES.get(mark.name, mark.name)
            costs = " · costs more" if even is not None and mark.rank > even else ""
            meaning = help_text(term) if term in GLOSSARY else mark.source
            kept = (
                f"Gives this layer rank {mark.rank} in Tune, which keeps {spectrum.energy(mark.rank):.1%} of {energy}."
            )
            with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
                st.markdown(f"{mark.label}: **{mark.rank}**{costs}", help=meaning, width="stretch")
                st.button(
                    f"Use {mark.rank}",
                    key=f"use-{mark.name}",
                    on_click=use,
                    args=(mark.rank,),
                    disabled=not family or mark.rank < 1,
                    help=kept if mark.rank else "By this rule nothing stands out, so there is no rank to use.",
                    width=88,
                )


def _errors(survey: Survey, layer: LayerSurvey) -> None:
    """What every form of the layer loses: its outputs in colour, its weights alone in grey."""
    from app.figures.curves import RANKED, error_curves_alt, error_curves_figure, error_curves_table

    st.markdown(
        f"**{frame.literal(layer.view.name)}**, {layer.view.shape_text}: error of every form",
        help=help_text("output error"),
    )
    if layer.obstacle or not layer.curves:
        st.info(f"It has no other form: {frame.literal(layer.obstacle or 'no family fits it')}.")
        return
    against = widgets.choice(
        "Against", {"kept": "Parameters kept", "rank": "Rank"}, "spectra-against", term="kept fraction"
    )
    share = spectra_rows.shares(layer)
    even = {family: FAMILIES[family].break_even(layer.view, "params") for family in RANKED if layer.curve(family)}
    form = (state.get().plan or Plan(survey.model)).form(layer.view.name)
    cuts = {} if isinstance(form, Dense) else {form.family: family_of(form).level(form, layer.view)}
    widgets.figure(
        error_curves_figure(
            layer, cuts=cuts, even=even, share=share if against == "kept" else None, look=widgets.look(), height=400
        ),
        error_curves_alt(layer, share),
        error_curves_table(layer),
        f"{survey.model.name}-{layer.view.name}-errors",
        key="spectra-errors",
    )
    if survey.calibration:
        st.markdown(f"Predicted from {frame.literal(survey.calibration)}.", help=help_text("calibration batch"))
    else:
        st.markdown("Errors are of weights: **Calibrate** on the Tune page predicts errors of outputs.")


def _eigenvalues(survey: Survey, layer: LayerSurvey) -> None:
    """How the eigenvalues are spread, what of it noise would explain, and the power law of the rest."""
    from app.figures.esd import esd_alt, esd_figure, esd_table

    matrix = matrix_in_hand(survey)
    spectrum = _heading(survey, layer, "eigenvalues", "eigenvalue histogram")
    if spectrum is None:
        return
    found = None if matrix == "whitened" else spectra_rows.diagnostics_of(spectrum)
    compared = layer.shuffled if spectrum is layer.spectrum else None
    left, right = st.columns([4, 3], gap="medium")
    with left:
        widgets.figure(
            esd_figure(spectrum, found, compared, look=widgets.look(), height=360),
            esd_alt(found),
            esd_table(spectrum, compared),
            f"{survey.model.name}-{layer.view.name}-eigenvalues",
            key="spectra-eigenvalues",
        )
    with right:
        if found is None:
            st.info("Noise edge and power law are read off plain weights: choose another matrix above to see them.")
            return
        for row in _facts(found):
            for column, (label, value, term) in zip(st.columns(3), row, strict=True):
                squared = f"\n\nHere as an eigenvalue, λ = σ², where σ = {found.mp_edge:.3g}." if "λ" in label else ""
                column.metric(label, value, help=help_text(term) + squared)


def _facts(found: spectra_rows.Diagnostics) -> tuple[tuple[tuple[str, str, str], ...], ...]:
    """(label, value, term) of every diagnostic, three a row."""

    def number(value: float | None, digits: int = 2) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    return (
        (
            ("alpha", number(found.alpha), "alpha"),
            ("standard error", number(found.alpha_sigma), "alpha standard error"),
            ("fit distance", number(found.alpha_distance), "alpha distance"),
        ),
        (
            ("points in the tail", str(found.alpha_tail), "alpha tail"),
            ("noise edge, λ", f"{found.mp_edge**2:.3g}", "marchenko-pastur edge"),
            ("spikes", str(found.spikes), "spikes"),
        ),
        (
            ("MP soft rank", number(found.mp_soft_rank), "mp soft rank"),
            ("stable rank", number(found.stable_rank, 1), "stable rank"),
            ("entropy rank", number(found.entropy_rank, 1), "entropy rank"),
        ),
        (
            ("matrix entropy", number(found.matrix_entropy), "matrix entropy"),
            ("numerical rank", str(found.numerical_rank), "numerical rank"),
            ("log norm", number(found.log_norm), "log norm"),
        ),
        (
            ("log spectral norm", number(found.log_spectral_norm), "log spectral norm"),
            ("log alpha norm", number(found.log_alpha_norm), "log alpha norm"),
            ("alpha-hat", number(found.alpha_weighted), "alpha weighted"),
        ),
    )


def _all_layers(survey: Survey, layer: LayerSurvey) -> None:
    """Every layer's spectrum as a row of brightness."""
    from app.figures.heatmap import heatmap_alt, heatmap_figure, heatmap_table

    matrix = matrix_in_hand(survey)
    st.markdown("Every layer at once: how fast its singular values fall.", help=help_text("singular value"))
    seen = spectra_rows.whole_as(survey, matrix)
    widgets.figure(
        heatmap_figure(seen, matrix, look=widgets.look()),
        heatmap_alt(seen, matrix),
        heatmap_table(seen, matrix),
        f"{survey.model.name}-all-layers",
        key="spectra-heatmap",
    )


def _ledger(survey: Survey, layer: LayerSurvey) -> None:
    """What the network consists of, to the last parameter."""
    first, *more = spectra_rows.ledger_sentences(survey)
    st.markdown(f"**{first}**", help=help_text("obstacle"))
    for sentence in more:
        st.markdown(f"- {frame.literal(sentence)}")
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    macs = number("MACs", format="localized", help=help_text("MACs")) if survey.runnable else text("MACs")
    widgets.numbers(
        spectra_rows.ledger(survey),
        f"{survey.model.name}-ledger",
        key="spectra-ledger",
        alt="Ledger: every layer, everything else, and the total.",
        config={
            "parameters": number("parameters", format="localized", help=help_text("parameters")),
            "share": number("share", format="percent", help="Of all parameters."),
            "MACs": macs,
            "compressible": text("compressible", width="large", help=help_text("obstacle")),
        },
    )


def _heading(survey: Survey, layer: LayerSurvey, what: str, term: str = "rank") -> Spectrum | None:
    """Which layer and matrix the tab is about; the spectrum, or None after saying why there is none."""
    matrix = matrix_in_hand(survey)
    view = layer.view
    words = (
        f" · matrix: {spectra_rows.matrices(survey)[matrix]}" if len(layer.spectra) > 1 or matrix == "whitened" else ""
    )
    st.markdown(f"**{frame.literal(view.name)}**, {view.shape_text}: {what}{words}", help=help_text(term))
    spectrum = references.matrix_of(layer, matrix)
    if spectrum is None:
        st.info(f"No spectrum: {frame.literal(layer.obstacle or 'it has no such matrix')}.")
    elif not spectrum.S[0]:
        st.info("Every weight is zero: rank 0 says it all.")
        return None
    return spectrum


def _family(layer: LayerSurvey, matrix: str) -> str:
    """The form whose rank this matrix's rules speak of, "" if the layer cannot take it."""
    family = spectra_rows.FAMILY_OF[matrix] if matrix == "whitened" or matrix in dict(layer.spectra) else "lowrank"
    return family if not layer.obstacle and layer.curve(family) else ""
