"""A page of the app without a browser: opened on a survey, looked at, and told what its component would tell it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import links, services, state
from core.compression.plans import Plan
from core.compression.survey import Survey

SCRIPT = str(Path(__file__).resolve().parents[2] / "streamlit_app.py")


def opened(
    monkeypatch: pytest.MonkeyPatch, name: str, survey: Survey, plan: Plan | None = None, **query: str
) -> AppTest:
    """The page of that name by a link to a plan; any model of an address has this survey."""
    monkeypatch.setattr(services, "survey", lambda *args, **kwargs: survey)
    services.dial.clear()  # surveys made by hand share the name of a model, by which stops of the dial are kept
    page = AppTest.from_file(SCRIPT, default_timeout=60)
    cfg = {"cfg": links.encode_plan(plan)} if plan else {}
    page.query_params.update({"model": "digits-mlp"} | cfg | query)
    page.switch_page(f"app/pages/{name}.py")
    return run(page)


def run(page: AppTest) -> AppTest:
    """One more run, which must not fail."""
    page.run()
    return sound(page)


def sound(page: AppTest) -> AppTest:
    """The page, which did not fail."""
    assert not page.exception, [error.message for error in page.exception]
    return page


def send(page: AppTest, key: str, **message: Any) -> AppTest:
    """One run as after a message of the component with this key."""
    states = page._tree.get_widget_states()
    states.widgets.add(id=_component(page, key).id, json_value=json.dumps({"message": {"earlier": [], **message}}))
    page._run(states)
    return sound(page)


def dial(page: AppTest, keep: float, **message: Any) -> AppTest:
    """One run as after the dial was moved along the path that the bars show."""
    return send(page, "bars", kind="dial", keep=keep, path=data(page, "bars")["path"]["name"], **message)


def data(page: AppTest, key: str) -> dict[str, Any]:
    """What the component with this key was given."""
    return json.loads(_component(page, key).json)


def _component(page: AppTest, key: str) -> Any:
    return next(element.proto for element in page.get("bidi_component") if element.key == key)


def press(page: AppTest, label: str) -> AppTest:
    """One run after a click on the button with this label."""
    button(page, label).click().run()
    return sound(page)


def button(page: AppTest, label: str) -> Any:
    return next(button for button in page.button if button.label == label)


def metrics(page: AppTest) -> dict[str, tuple[str, str]]:
    """Value and what stands under it, by label, in the order of the page."""
    return {metric.label: (metric.value, metric.delta) for metric in page.metric}


def words(page: AppTest) -> str:
    """All sentences of the page, without the backslashes that keep names literal."""
    kinds = (page.subheader, page.markdown, page.info, page.warning, page.error)
    return "\n".join(element.value.replace("\\", "") for kind in kinds for element in kind)


def kinds(page: AppTest) -> list[str]:
    """Types of the elements of the page in their order."""
    return [element.type for element in page.main]


def now(page: AppTest) -> state.Selection:
    """The selection of the page's tab."""
    return page.session_state["selection"]
