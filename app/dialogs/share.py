"""Share and export: the address, the plan as a file, the table, the state as code, and the compressed network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from app import frame, services, snippets, sources, state, tuning, widgets
from app.dialogs import parts
from app.worker import Job
from core.compression.plans import Plan, Repair, check_plan, plan_cost
from core.compression.survey import Survey
from core.errors import InputError, PlanError

NAME, PLAN_ERROR, EXPORT_ERROR = "share", "plan-error", "export-error"

PLAN_MB = 1
"""Largest plan file that is read; one of 300 layers has 30 kB."""


def share() -> None:
    """Opens the dialog, or keeps it open."""
    state.dialog(NAME)
    _dialog()


@st.dialog("Share and export", width="medium", on_dismiss=parts.closed)
def _dialog() -> None:
    now = state.get()
    survey = services.survey(now.model, now.data)
    if survey is None or state.dialog() != NAME:
        st.rerun()
    plan = now.plan or Plan(survey.model)
    link, network, file, code = st.tabs(["Link", "Compressed network", "Plan and table", "Code"], key="share-tabs")
    with link:
        _link(now, plan)
    with network:
        _network(now, survey, plan)
    with file:
        _plan_file(now, survey, plan)
    with code:
        _code(now, survey, plan)


def _link(now: state.Selection, plan: Plan) -> None:
    address = state.link()
    st.markdown("This address holds the model, the layers selected and every rank: open it and see what you see now.")
    st.code(address, language=None, wrap_lines=True)
    if "cfg=@" in address or "pin=@" in address:
        st.info(
            "The configuration is too long for an address, so it is stored on this computer under the id in it. The "
            "link works here; to send it elsewhere, send the plan as a file.",
            icon=":material/info:",
        )
    if ":" in now.model or ":" in now.data:
        what = "uploaded" if now.model.startswith("upload:") else "in the server's folder"
        st.info(
            f"The model itself is not in the link: it is a file {what}, found only where that file lies.",
            icon=":material/info:",
        )


def _plan_file(now: state.Selection, survey: Survey, plan: Plan) -> None:
    name = widgets.file_name(survey.model.name)
    st.markdown("The **plan** says which form and rank every layer has. The command line reads the same file.")
    with st.container(horizontal=True):
        st.download_button(
            "Save the plan as JSON",
            lambda: plan.to_json() + "\n",
            f"{name}-plan.json",
            "application/json",
            key="save-plan",
            icon=":material/download:",
            on_click="ignore",
        )
        st.download_button(
            "Save the table as CSV",
            lambda: _table(survey, plan, now),
            f"{name}-layers.csv",
            "text/csv",
            key="save-table",
            icon=":material/table:",
            on_click="ignore",
        )
    file = st.file_uploader(
        "Read a plan from a file", type="json", key="plan-file", max_upload_size=PLAN_MB, on_change=_forget
    )
    parts.error(PLAN_ERROR)
    if file is not None:
        st.button("Use this plan", type="primary", key="use-plan", on_click=_use_plan, args=(survey,))
    if state.value("plan-used"):
        st.success(state.value("plan-used"), icon=":material/check:")


def _forget() -> None:
    parts.fail(PLAN_ERROR, "")
    state.keep("plan-used", "")


def _use_plan(survey: Survey) -> None:
    """Takes the plan in the chosen file, if it is one and of this model; Undo brings the present one back."""
    _forget()
    try:
        made = read_plan(state.value("plan-file").getvalue(), survey)
    except PlanError as error:
        parts.fail(PLAN_ERROR, str(error))
        return
    state.change_plan(made)
    layers = len(made.layers)
    state.keep("plan-used", f"{layers} layer{'' if layers == 1 else 's'} set. Undo brings the former plan back.")


def read_plan(content: bytes, survey: Survey) -> Plan:
    """The plan in a file, for this model. PlanError, one sentence, if it is none or of another model."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PlanError("This file is not a plan; choose one saved from Share and export.") from None
    made = Plan.from_json(text)
    check_plan(made, survey.model, survey.views)
    return replace(made, model=survey.model)


def _table(survey: Survey, plan: Plan, now: state.Selection) -> str:
    """The layer table as CSV."""
    quantity = now.quantity if survey.dense.of(now.quantity) else "params"
    columns = tuning.table(survey, plan, now.locked, quantity)
    return widgets.csv_text(columns)


def _code(now: state.Selection, survey: Survey, plan: Plan) -> None:
    cost = plan_cost(plan, survey.views, survey.rest)
    st.markdown("In a notebook or script in this project's folder, these lines make the same plan again.")
    st.code(snippets.code(now.model, now.arch, plan), language="python", wrap_lines=True)
    st.markdown(f"They print {cost.params:,} parameters, {cost.macs:,} MACs per sample, {cost.bytes:,} bytes.")


def _network(now: state.Selection, survey: Survey, plan: Plan) -> None:
    if not survey.runnable:
        st.info(f"Nothing can be exported from weights alone: {frame.literal(survey.reason)}.")
        return
    if not plan.layers:
        st.info("No layer is compressed yet. Choose ranks under Tune, then come back.")
        return
    st.markdown(
        "A folder with the new weights, the plan, a report, and a loader that needs nothing but torch. It is read back "
        "and compared before you get it."
    )
    data = frame.literal(sources.display_name(now.data))
    repaired = st.toggle(
        f"Repair and measure on {data}",
        value=True,
        key="export-repair",
        help="Fits the factors to training inputs (no labels) and puts measured accuracy into the report. Without it, "
        "weights are only truncated.",
    )
    if not repaired:
        plan = replace(plan, repair=Repair(()))
    asked = (now.model, plan, now.data if repaired else "")
    job = services.job(state.job("export"))
    if state.value("export-of") != asked:
        job = None
    elif job is not None and job.state == "failed":
        state.job("export", "")
        parts.fail(EXPORT_ERROR, job.error)
        job = None
    parts.error(EXPORT_ERROR)
    running = job is not None and not job.over and not state.left(job.id)
    st.button(
        "Export",
        type="primary",
        key="export",
        icon=":material/archive:",
        on_click=_start,
        args=asked,
        disabled=running,
    )
    if job is not None and running:
        parts.progress(job, "Exporting")
    elif job is not None and job.state == "done":
        _exported(job, widgets.file_name(survey.model.name))


def _start(source: str, plan: Plan, data: str) -> None:
    parts.fail(EXPORT_ERROR, "")
    state.keep("export-of", (source, plan, data))
    try:
        state.job("export", services.export(source, plan, data).id)
    except InputError as error:
        parts.fail(EXPORT_ERROR, str(error))


def _exported(job: Job, name: str) -> None:
    """What the check found, the files, and the zip."""
    check: dict[str, Any] = job.result
    words = f"largest difference {check['max_difference']:.3g} over {check['outputs']:,} outputs"
    if check["ok"]:
        st.success(f"Read back and compared: {words}.", icon=":material/check:")
    else:
        st.error(f"Read back, but the outputs differ: {words}. Do not use it; export again.", icon=":material/error:")
    st.download_button(
        "Save as a zip",
        lambda: services.bundle_zip(Path(job.request["out"]), check["files"], f"{name}-compressed"),
        f"{name}-compressed.zip",
        "application/zip",
        key="save-bundle",
        icon=":material/download:",
        on_click="ignore",
    )
    files = check["files"]
    st.dataframe(
        {
            "file": [file["name"] for file in files],
            "bytes": [file["size"] for file in files],
            "SHA-256": [file["sha256"] for file in files],
        },
        hide_index=True,
        alt="The files of the export with their sizes and SHA-256.",
    )
