"""report: a plan, the survey it was made on and what was measured, as one HTML page that needs nothing else.

Pure: records in, text out; importing it imports no torch. What was not measured is said to be "not measured", and every
layer of the network is in one of two tables: compressed, or dense with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import report_page as page
from core.compression.plans import LayerPlan, Plan, plan_cost
from core.compression.survey import LayerSurvey, Survey
from core.networks.costs import Cost, total
from core.networks.forms import FAMILIES, Dense, Form, family_of
from core.networks.views import LayerView
from core.provenance import Measurement, Provenance

if TYPE_CHECKING:
    from core.compression.counting import Counted
    from core.compression.fitting import StepGain
    from core.training.evaluate import Latency

UNKNOWN = "–"
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured of a plan; whatever is missing is reported as not measured.

    dense, compressed   accuracies on the same examples; conditions name data and split.
    gains    of the repair, in order. stages  accuracy after each step, if it was asked for.
    calibration   in words, what the repair was calibrated on; "" without. latency  of one sample.
    removed  a sentence for each thing that removing rows for real meant, or why it could not be done.
    """

    dense: Measurement | None = None
    compressed: Measurement | None = None
    gains: tuple[StepGain, ...] = ()
    stages: tuple[tuple[str, Measurement], ...] = ()
    calibration: str = ""
    latency: Latency | None = None
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """How the written files were read back.

    outputs   numbers compared; max_difference  the largest difference among them, absolute.
    files     (name, bytes, SHA-256) of each file beside the report. notes  what is to be said about the weights.
    brings_network  whether the files hold the dense network's code, so that they load alone.
    """

    outputs: int
    max_difference: float
    files: tuple[tuple[str, int, str], ...]
    notes: tuple[str, ...]
    brings_network: bool


def report(
    plan: Plan, survey: Survey, facts: Facts, made: Provenance, proof: Proof, counted: Counted | None = None
) -> str:
    """The page, as HTML. `survey` is that of the dense network; every form of the plan fits its layer. counted  the
    smaller network of a plan that removes rows, whose costs then stand in place of the plan's."""
    dense = survey.dense
    after = counted.cost if counted else plan_cost(plan, survey.views, survey.rest)
    return page.document(
        f"{survey.model.name}, compressed",
        _lead(plan, survey, facts, dense, after),
        _totals(dense, after, _has_macs(survey)),
        _measured(survey, facts),
        _repair(plan, facts),
        _compressed(plan, survey, dense, after, counted),
        _removed(survey, facts, counted) if counted else "",
        _ledger(plan, survey, counted),
        _files(proof),
        page.section("What the words mean", page.definitions()),
        _made(plan, survey, made),
    )


def _lead(plan: Plan, survey: Survey, facts: Facts, dense: Cost, after: Cost) -> str:
    changed = [entry for entry in plan.layers if not isinstance(entry.form, Dense)]
    figures = [(page.percent(after.params / dense.params) if dense.params else UNKNOWN, "of the parameters kept")]
    if _has_macs(survey):
        figures.append((page.percent(after.macs / dense.macs), "of the MACs kept"))
    figures.append((page.percent(after.bytes / dense.bytes) if dense.bytes else UNKNOWN, "of the bytes kept"))
    if facts.compressed is not None:
        before = f", dense {page.percent(facts.dense.value, 2)}" if facts.dense else ""
        figures.append(
            (page.percent(facts.compressed.value, 2), f"accuracy{before}; measured, n = {facts.compressed.n:,}")
        )
    else:
        figures.append((NOT_MEASURED, "accuracy"))
    cards = "".join(f"<li><b>{page.text(value)}</b><span>{page.text(words)}</span></li>" for value, words in figures)
    arch = f"{survey.arch}; " if survey.arch else ""
    words = f"{arch}{len(changed)} of {len(survey.layers)} layers in another form, the others dense."
    return page.paragraph(page.text(words)) + f'<ul class="figures">{cards}</ul>'


def _totals(dense: Cost, after: Cost, has_macs: bool) -> str:
    rows = [("parameters", dense.params, after.params), ("bytes", dense.bytes, after.bytes)]
    if has_macs:
        rows[1:1] = [("macs", dense.macs, after.macs), ("useful", dense.useful_macs, after.useful_macs)]
    cells = [
        (page.term(name), page.count(a), page.count(b), page.percent(b / a) if a else UNKNOWN) for name, a, b in rows
    ]
    note = "" if has_macs else page.paragraph("MACs are not known: no sample was run through the network.", note=True)
    return page.section(
        "Size, and cost of one sample", page.table(("", "before", "after", page.term("kept")), cells), note
    )


def _measured(survey: Survey, facts: Facts) -> str:
    found = [("dense", facts.dense or survey.accuracy), ("compressed", facts.compressed)]
    found += [(f"after {step}", value) for step, value in facts.stages]
    rows = [_measurement(name, value) for name, value in found]
    heads = ("", page.term("accuracy"), page.term("spread"), "n", page.term("seed"), "conditions")
    parts = [page.table(heads, rows, words=(5,))]
    if facts.dense is not None and facts.compressed is not None:
        change = 100 * (facts.compressed.value - facts.dense.value)
        signed = f"{change:+.2f}".replace("-", "−")
        parts.append(page.paragraph(f"Change: {signed} percentage points, on the same examples."))
    parts.append(_latency(facts.latency))
    return page.section("Measured", *parts)


def _measurement(name: str, value: Measurement | None) -> tuple[str, ...]:
    if value is None:
        return page.text(name), NOT_MEASURED, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    where = f"{value.provenance.conditions}; {value.provenance.device}, {value.provenance.date}"
    spread = f"± {page.percent(value.spread, 2)}"
    return page.text(name), page.percent(value.value, 2), spread, page.count(value.n), str(value.seed), page.text(where)


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return page.paragraph(page.term("latency", "Latency"), f"was {NOT_MEASURED}.")
    runs = (("dense", latency.dense), ("compressed", latency.compressed), ("dense, again", latency.again))
    rows = [(name, *(f"{value:.3f}" for value in values)) for name, values in runs]
    heads = (page.term("latency", "latency, ms"), "least", "lower quartile", "median", "upper quartile")
    found = f"{latency.verdict.capitalize()}: the median is {latency.ratio:.2f} times the dense one;"
    conditions = (
        f"{page.percent(latency.noise)}. Passes: {latency.repeats}, samples a pass: {latency.batch}; "
        f"{latency.provenance.conditions}; {latency.provenance.device}, threads: {latency.provenance.threads}."
    )
    return page.table(heads, rows) + page.paragraph(page.text(found), page.term("noise"), page.text(conditions))


def _repair(plan: Plan, facts: Facts) -> str:
    steps = ", ".join(plan.repair.steps) or "none"
    asked = f"asked for: {steps}; {plan.repair.samples:,} samples, seed {plan.repair.seed}."
    parts = [page.paragraph(page.term("repair", "Repair"), page.text(asked))]
    if facts.calibration:
        parts.append(page.paragraph(page.term("calibration", "Calibration:"), page.text(facts.calibration) + "."))
    if facts.gains:
        rows = [
            (page.text(g.step), _distance(g.distance), "kept" if g.kept else "not kept", f"{g.seconds:.1f}")
            for g in facts.gains
        ]
        heads = ("step", page.term("distance", "distance to dense outputs"), "", "seconds")
        parts.append(page.table(heads, rows, words=(2,)))
    else:
        parts.append(page.paragraph("No step was run for this export.", note=True))
    return page.section("Repair without labels", *parts)


def _distance(value: float) -> str:
    return f"{value:.4f}" if value < float("inf") else "not finite"


def _compressed(plan: Plan, survey: Survey, dense: Cost, after: Cost, counted: Counted | None) -> str:
    entries = {entry.layer: entry for entry in plan.layers if not isinstance(entry.form, Dense)}
    chosen = [layer for layer in survey.layers if layer.view.name in entries]
    rows = [_layer_row(layer, entries[layer.view.name], counted) for layer in chosen]
    if not rows:
        return page.section("Compressed layers", page.paragraph("None: this plan leaves every layer dense."))
    groups = (
        ("", 4),
        (page.term("parameters"), 2),
        (page.term("macs"), 2),
        (page.term("bytes"), 2),
        (page.term("predicted", "predicted error"), 2),
        ("", 1),
    )
    names = [page.term("layer"), page.term("shape"), page.term("form"), page.term("level")]
    ends = [page.term("weight-error", "weights"), page.term("output-error", "outputs"), page.term("spectrum")]
    foot = ("whole network", "", "", "", *_before_after(dense, after, _has_macs(survey)), "", "", "")
    source = survey.calibration or "none, so output errors are not predicted"
    return page.section(
        "Compressed layers",
        page.table([*names, *["before", "after"] * 3, *ends], rows, (1, 2, 3), groups, foot),
        page.paragraph("Output errors predicted from:", page.text(source) + ".", note=True),
    )


def _layer_row(layer: LayerSurvey, entry: LayerPlan, counted: Counted | None) -> tuple[str, ...]:
    view, form = layer.view, entry.form
    now = total([cost for _, cost in counted.parts(view.name)]) if counted else form.cost(view)
    costs = _before_after(Dense().cost(view), now, view.positions > 0)
    errors = tuple(_predicted(layer, form, kind) for kind in ("plain", "output"))
    label = family_of(form).label
    return (
        page.name(view.name),
        page.text(_shape(view, counted)),
        page.text(label),
        _level(form, view),
        *costs,
        *errors,
        _drawing(layer, form),
    )


def _shape(view: LayerView, counted: Counted | None) -> str:
    """The layer's shape, and what it is now that rows are gone."""
    parts = counted.parts(view.name) if counted else ()
    now = ", then ".join(part.shape_text for part, _ in parts)
    return view.shape_text if not parts or now == view.shape_text else f"{view.shape_text}; now {now}"


def _removed(survey: Survey, facts: Facts, counted: Counted) -> str:
    left = counted.cost.params - sum(cost.params for _, cost in counted.layers)
    lines = [
        "Rows that the plan masks were taken out of the tensors, with the columns that read them and the entries of "
        "BatchNorm between them. Every cost after is counted on the smaller network.",
        f"Parameters that no layer holds: {survey.rest.params:,} before, {left:,} after.",
        *facts.removed,
    ]
    return page.section("Rows removed for real", page.bullets(page.text(line) for line in lines))


def _before_after(a: Cost, b: Cost, has_macs: bool) -> tuple[str, ...]:
    macs = (page.count(a.macs), page.count(b.macs)) if has_macs else (UNKNOWN, UNKNOWN)
    return page.count(a.params), page.count(b.params), *macs, page.count(a.bytes), page.count(b.bytes)


def _level(form: Form, view: LayerView) -> str:
    family = family_of(form)
    level = family.level(form, view)
    if family.unit == "% kept":
        return f"{level} % kept"
    return f"{'rank' if family.unfolding else 'rows'} {level} of {family.full(view)}"


def _predicted(layer: LayerSurvey, form: Form, kind: str) -> str:
    """The predicted error as text, "at most" it where only a bound is known, a dash if the survey has no such curve."""
    try:
        error = page.percent(layer.predicted(form, kind))
    except ValueError:
        return UNKNOWN
    return error if form.family in FAMILIES else f"at most {error}"


def _drawing(layer: LayerSurvey, form: Form) -> str:
    """The spectrum that the form cuts, "" for a mask, and for low rank + sparse, which splits another matrix."""
    spectrum = dict(layer.spectra).get(FAMILIES[form.family].unfolding) if form.family in FAMILIES else None
    if spectrum is None:
        return ""
    words = f"rank {form.level} of {spectrum.k} keeps {page.percent(spectrum.energy(form.level))} of the energy"
    return page.spectrum_drawing(spectrum.S, form.level, words)


def _ledger(plan: Plan, survey: Survey, counted: Counted | None) -> str:
    left = [layer for layer in survey.layers if isinstance(plan.form(layer.view.name), Dense)]
    rows = [
        (
            page.name(layer.view.name),
            page.text(_shape(layer.view, counted)),
            page.count(_stored(layer.view, counted)),
            page.text(why_dense(layer)),
        )
        for layer in left
    ]
    heads = (page.term("layer"), page.term("shape"), page.term("parameters"), "why")
    lines = [page.text(line) for line in survey.rest_lines]
    rest = page.paragraph("What no layer holds, and no plan changes:") + page.bullets(lines) if lines else ""
    shown = page.table(heads, rows, words=(1, 3)) if rows else page.paragraph("None.")
    return page.section("Layers that stay dense", shown, rest)


def _stored(view: LayerView, counted: Counted | None) -> int:
    """Parameters of a dense layer as it is now, 0 of one that shares another's."""
    if counted:
        return total([cost for _, cost in counted.parts(view.name)]).params
    return 0 if view.tied_to else Dense().cost(view).params


def why_dense(layer: LayerSurvey) -> str:
    """Why a layer that a plan does not change stays as it is, in words."""
    if layer.obstacle:
        return layer.obstacle
    view = layer.view
    factored = [family for family in FAMILIES.values() if family.unfolding and not family.obstacle(view)]
    best = max((family.break_even(view, "params") for family in factored), default=0)
    return f"the plan leaves it; two factors save parameters up to rank {best}" if best else "no rank saves parameters"


def _files(proof: Proof) -> str:
    rows = [(page.text(name), page.count(size), f"<code>{page.text(sha)}</code>") for name, size, sha in proof.files]
    call = "load()" if proof.brings_network else "load(model=your_own_dense_network)"
    return page.section(
        "The files, and the proof",
        page.paragraph(
            f"After writing, the files were read back into a fresh network: {proof.outputs:,} outputs, largest "
            f"difference {proof.max_difference:.3g}.",
            "<code>load_model.py</code> needs torch alone; <code>python load_model.py</code> repeats the check."
            if proof.brings_network
            else "<code>load_model.py</code> needs torch and your own dense network.",
        ),
        f"<pre><code>from load_model import load\nnetwork = {call}</code></pre>",
        page.table(("file", "bytes", page.term("digest")), rows, words=(2,)),
        page.bullets(page.text(note) for note in proof.notes),
    )


def _made(plan: Plan, survey: Survey, made: Provenance) -> str:
    facts = [
        page.text(f"{made.date}; {', '.join(made.versions)}; {made.device}, threads: {made.threads}."),
        f"Model {page.text(survey.model.name)} ({page.text(survey.model.source)}), {page.term('digest')} "
        f"<code>{page.text(survey.model.digest)}</code>.",
        f"{page.term('seed', 'Seed')} of the repair: {plan.repair.seed}.",
        *(page.text(note) for note in survey.notes),
    ]
    return page.section("How this was made", page.bullets(facts))


def _has_macs(survey: Survey) -> bool:
    return any(view.positions for view in survey.views) and survey.dense.macs > 0
