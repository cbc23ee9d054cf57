"""The state of the app as a few lines of Python that rebuild it. No streamlit, no torch."""

from __future__ import annotations

from core.compression.plans import Plan

PLACE = "# put the path of your file here"


def code(source: str, arch: str, plan: Plan) -> str:
    """At most ten lines that open the model, make the plan again and print what it costs.

    source   of the open model: a demo's name, "upload:.../NAME" or "folder:PATH"; of a file only the name is known
             here, so it is looked for in the folder where the lines run.
    arch     the network to build, "" to recognise it.
    Names from a checkpoint stand in string literals and cannot become code."""
    kind, _, path = source.partition(":")
    local = bool(path) and kind in ("upload", "folder")
    where = "./" + (path.rpartition("/")[2] if kind == "upload" else path) if local else source
    opening = ", ".join(map(repr, (where, arch) if arch else (where,)))
    kinds = sorted({type(entry.form).__name__ for entry in plan.layers})
    forms = ", ".join(f"{entry.layer!r}: {entry.form!r}" for entry in plan.layers)
    lines = [
        "from core.compression.plans import LayerPlan, Plan, Repair, plan_cost",
        "from core.journeys import open_network, survey_of",
        *([f"from core.networks.forms import {', '.join(kinds)}"] if kinds else []),
        "",
        f"survey = survey_of(open_network({opening}))" + (f"  {PLACE}" if local else ""),
        f"forms = {{{forms}}}",
        f"plan = Plan(survey.model, tuple(LayerPlan(name, form) for name, form in forms.items()), {plan.repair!r})",
        "cost = plan_cost(plan, survey.views, survey.rest)",
        'print(f"{cost.params:,} parameters, {cost.macs:,} MACs per sample, {cost.bytes:,} bytes")',
    ]
    return "\n".join(lines) + "\n"
