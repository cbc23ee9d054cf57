"""What the visitor has chosen, and nothing else: one frozen Selection in the session, its undo history, its address.

The only module that touches session state and query parameters.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from app import links
from app.views import VIEWS
from core.compression.plans import Plan
from core.compression.survey import Survey

DEFAULT_MODEL = "digits-resnet"
SCHEMA = "1"
HISTORY = 50
NAMED = 8
"""Layers that a notice names before it says how many more there are (chosen)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """model, data: what is open, by source. arch: the network to build, "" to recognise it. selected: names of ticked
    layers, primary the one in hand. plan: None until the survey is known. locked: layers the solver and the dial leave
    alone. mode "rank", "sparsity" or "both". quantity of the budget. dial: kept fraction last asked for. energy: share
    that Overview and Spectra mark. pinned: a plan to compare.
    """

    model: str = DEFAULT_MODEL
    data: str = "digits"
    arch: str = ""
    selected: tuple[str, ...] = ()
    primary: str = ""
    plan: Plan | None = None
    locked: tuple[str, ...] = ()
    mode: str = "rank"
    quantity: str = "macs"
    dial: float = 1.0
    energy: int = 90
    pinned: Plan | None = None


@dataclass(slots=True)
class _Session:
    """What one browser tab has beyond its selection.

    tab: its own random name. dialog: the one that is open. teaching: None until asked. fresh: the model was opened just
    now. left: jobs this tab gave up while others wait for them. followed: jobs that have a panel in this run. opened:
    by digest. views: how pages are looked at, by parameter of the address."""

    past: list[Plan] = field(default_factory=list)
    future: list[Plan] = field(default_factory=list)
    revision: int = 0
    seen: int = 0
    notices: list[str] = field(default_factory=list)
    jobs: dict[str, str] = field(default_factory=dict)
    restored: bool = False
    tab: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    dialog: str = ""
    teaching: bool | None = None
    fresh: bool = False
    left: set[str] = field(default_factory=set)
    followed: set[str] = field(default_factory=set)
    opened: dict[str, Survey] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)


def get() -> Selection:
    """The selection, read from the address on the first run of a tab."""
    session = _session()
    if "selection" not in st.session_state:
        st.session_state["selection"] = _from_address(session)
    return st.session_state["selection"]  # type: ignore[no-any-return]


def put(**changes: Any) -> Selection:
    """Replaces fields of the selection and mirrors it to the address."""
    st.session_state["selection"] = replace(get(), **changes)
    mirror()
    return get()


def change_plan(plan: Plan, from_component: bool = False) -> None:
    """A new plan, the old one kept for undo. from_component: the browser shows it already."""
    session, now = _session(), get().plan
    if plan == now:
        return
    if now is not None:
        session.past = [*session.past, now][-HISTORY:]
    session.future = []
    if not from_component:
        session.revision += 1
    put(plan=plan)


def undo() -> None:
    """Back to the plan before the last change."""
    _travel("past", "future")


def redo() -> None:
    """Forward again."""
    _travel("future", "past")


def can_undo() -> bool:
    return bool(_session().past)


def can_redo() -> bool:
    return bool(_session().future)


def open_model(model: str, data: str, survey: Survey, arch: str = "") -> None:
    """Another model: its plan starts dense, the history is empty. What an address said of the one before is void."""
    session = _session()
    session.past, session.future = [], []
    session.revision += 1
    session.restored = session.fresh = True
    session.jobs = {}
    st.session_state["selection"] = Selection(model=model, data=data, arch=arch, plan=Plan(survey.model))
    fit(survey)
    mirror()


def reset() -> None:
    """Back to the defaults; what an address said is void."""
    session = _session()
    session.past, session.future = [], []
    session.revision += 1
    session.restored = True
    session.jobs = {}
    session.views = {}
    for view in VIEWS:
        st.session_state.pop(view.key, None)
    st.session_state["selection"] = Selection()
    mirror()


def fit(survey: Survey) -> Selection:
    """Brings the selection in line with the survey of its model: a plan if there was none, layer names that exist, and
    the plan of the address once the layers are known. Says what was dropped."""
    session, now = _session(), get()
    session.opened[survey.model.digest] = survey
    names = [view.name for view in survey.views]
    changes: dict[str, Any] = {}
    gone = [name for name in (*now.selected, *now.locked, *filter(None, [now.primary])) if name not in names]
    if gone:
        notice(f"This link names layers that {survey.model.name} does not have: {_listed(gone)}.")
        changes["selected"] = tuple(name for name in now.selected if name in names)
        changes["locked"] = tuple(name for name in now.locked if name in names)
    if now.primary not in names:
        usable = [layer.view.name for layer in survey.layers if not layer.obstacle]
        changes["primary"] = (*[name for name in now.selected if name in names], *usable, *names, "")[0]
    if now.plan is None or now.plan.model.digest != survey.model.digest:
        changes["plan"] = Plan(survey.model)
        session.past, session.future = [], []
    if not session.restored:
        session.restored = True
        for parameter, where in (("cfg", "plan"), ("pin", "pinned")):
            text = st.query_params.get(parameter, "")
            if text:
                found = links.decode_plan(text, survey)
                if found is None and text.startswith("@") and not links.is_stored(text):
                    notice(
                        "The configuration of this link is stored on another machine, so the model is shown as it is; "
                        "ask for the plan as a file and read it in under Share and export."
                    )
                elif found is None:
                    notice("The configuration in this link is damaged or of another model; showing the model as it is.")
                else:
                    changes[where] = found
        session.revision += 1
    if changes:
        put(**changes)
    return get()


def opened() -> tuple[Survey, ...]:
    """Surveys of the models this tab has opened, as last seen."""
    return tuple(_session().opened.values())


def link() -> str:
    """The whole state as an address: of this page, as the browser knows it, or from "?" on when there is no browser."""
    return f"{st.context.url or ''}?{urlencode(st.query_params.to_dict(), safe=',:@/')}"


def tab() -> str:
    """A random name of this browser tab."""
    return _session().tab


def dialog(name: str | None = None) -> str:
    """The dialog that is open, "" if none; a name sets it. An open dialog stays through full runs of the page."""
    if name is not None:
        _session().dialog = name
    return _session().dialog


def fresh(value: bool | None = None) -> bool:
    """Whether the model was opened just now and what opening it said is still to be read; a value sets it."""
    if value is not None:
        _session().fresh = value
    return _session().fresh


def left(id: str, value: bool | None = None) -> bool:
    """Whether this tab gave up a job that others still wait for; a value sets it."""
    if value is not None:
        (_session().left.add if value else _session().left.discard)(id)
    return id in _session().left


def followed(id: str = "") -> bool:
    """Whether a job has its panel in this run already; says yes from then on. No id: a new run begins."""
    seen = _session().followed
    already = id in seen
    if id:
        seen.add(id)
    else:
        seen.clear()
    return already


def notice(text: str) -> None:
    """A sentence that stays until it is dismissed."""
    if text not in _session().notices:
        _session().notices.append(text)


def notices() -> tuple[str, ...]:
    return tuple(_session().notices)


def dismiss(text: str) -> None:
    if text in _session().notices:
        _session().notices.remove(text)


def revision() -> int:
    """Raised whenever Python, not the component, has changed what the bars show."""
    return _session().revision


def bump() -> None:
    _session().revision += 1


def seen(seq: int | None = None) -> int:
    """The last component message acted on; a number sets it."""
    session = _session()
    if seq is not None:
        session.seen = seq
    return session.seen


def job(name: str, id: str | None = None) -> str:
    """The id of this tab's job of that name, "" if none; an id sets it."""
    jobs = _session().jobs
    if id is not None:
        jobs[name] = id
    return jobs.get(name, "")


def teaching() -> bool:
    """Whether teaching mode is on (`?teach=true` when the tab was opened)."""
    session = _session()
    if session.teaching is None:
        session.teaching = st.query_params.get("teach", "") == "true"
    return session.teaching


def value(key: str, otherwise: Any = None) -> Any:
    """What a widget or page kept under a key."""
    return st.session_state.get(key, otherwise)


def keep(key: str, value: Any) -> None:
    """Keeps a value for this tab under a key of a page's own."""
    st.session_state[key] = value


def changed(key: str, apply: Callable[[Any], None]) -> Callable[[], None]:
    """A widget callback that hands its new value to `apply`."""
    return lambda: apply(st.session_state[key])


def mirror() -> None:
    """Writes the selection and the views to the address; called on every page, because a page switch drops it, and by
    fragments whose controls are views."""
    now = get()
    wanted = {
        "s": SCHEMA,
        "teach": "true" if teaching() else "",
        "model": now.model,
        "arch": now.arch,
        "data": now.data if now.data != "digits" else "",
        "layers": ",".join(name.replace("%", "%25").replace(",", "%2C") for name in now.selected),
        "layer": now.primary,
        "mode": now.mode if now.mode != "rank" else "",
        "by": now.quantity if now.quantity != "macs" else "",
        "energy": str(now.energy) if now.energy != 90 else "",
        "cfg": links.plan_text(now.plan) if now.plan is not None and now.plan.layers else "",
        "pin": links.plan_text(now.pinned) if now.pinned is not None else "",
        "lock": ",".join(name.replace("%", "%25").replace(",", "%2C") for name in now.locked),
    }
    if not _session().restored:  # what the address says is still to be read
        wanted["cfg"] = st.query_params.get("cfg", "")
        wanted["pin"] = st.query_params.get("pin", "")
    for name, text in (wanted | _views()).items():
        if text and st.query_params.get(name) != text:
            st.query_params[name] = text
        elif not text and name in st.query_params:
            del st.query_params[name]


def _views() -> dict[str, str]:
    """How pages are looked at, by parameter. What a page switch took from the session is put back, or set as the
    address said, so controls of `VIEWS` need no default of their own."""
    kept = _session().views
    for view in VIEWS:
        if view.key not in st.session_state:
            st.session_state[view.key] = view.value(kept.get(view.parameter, ""))
        kept[view.parameter] = view.text(st.session_state[view.key])
    return kept


def _listed(names: list[str]) -> str:
    """Names in a sentence, each once, the first `NAMED` of them."""
    once = list(dict.fromkeys(names))
    more = f" and {len(once) - NAMED} more" if len(once) > NAMED else ""
    return ", ".join(name if len(name) <= 80 else name[:77] + "..." for name in once[:NAMED]) + more


def _session() -> _Session:
    if "tab" not in st.session_state:
        st.session_state["tab"] = _Session()
    return st.session_state["tab"]  # type: ignore[no-any-return]


def _travel(source: str, target: str) -> None:
    session, now = _session(), get().plan
    stack: list[Plan] = getattr(session, source)
    if not stack or now is None:
        return
    getattr(session, target).append(now)
    session.revision += 1
    put(plan=stack.pop())


def _from_address(session: _Session) -> Selection:
    q = st.query_params
    if q.get("s", SCHEMA) != SCHEMA:
        session.notices.append("This link was made by another version of Rankscope; showing the defaults.")
        session.restored = True
        for name in tuple(q):
            if name not in ("teach", "lesson", "hide"):
                del q[name]
        return Selection()

    def names(text: str) -> tuple[str, ...]:
        return tuple(part.replace("%2C", ",").replace("%25", "%") for part in text.split(",") if part)

    session.views = {view.parameter: q.get(view.parameter, "") for view in VIEWS}
    energy = q.get("energy", "90")
    return Selection(
        model=q.get("model", DEFAULT_MODEL),
        data=q.get("data", "digits"),
        arch=q.get("arch", "")[:200],
        selected=names(q.get("layers", ""))[:8],
        primary=q.get("layer", ""),
        locked=names(q.get("lock", "")),
        mode=q.get("mode", "rank") if q.get("mode") in ("rank", "sparsity", "both") else "rank",
        quantity=q.get("by", "macs") if q.get("by") in ("params", "macs", "bytes") else "macs",
        energy=int(energy) if energy in ("80", "90", "95", "99") else 90,
    )
