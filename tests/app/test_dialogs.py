"""The dialogs as a visitor meets them, on a page that holds nothing but the frame; jobs end when a test says so."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app import frame, links, services, sources, state
from app.dialogs import about
from app.worker import ROOT, Pool
from core.compression.plans import Plan, Repair, plan_cost
from core.compression.survey import Survey
from core.networks.demo_files import demo_info
from core.networks.forms import LowRank, Sparse

Tabs = Callable[..., Any]
HOSTILE = "<img src=x onerror=alert(1)> **b** [a](http://x) $x^2$ :red[y] `z`"


def page() -> None:
    frame.begin("Test")


def show(tab: Any, *path: str) -> Any:
    """Runs the page after clicking the buttons of these keys, one run each."""
    if not tab.app.button and path:
        tab.do(page)
    for key in path or ("",):
        if key:
            tab.app.button(key=key).click()
        tab.do(page)
    return tab.app


def ask(tab: Any, act: Callable[[], Any]) -> Any:
    """What `act` returns when it runs once before the page is drawn."""
    made: list[Any] = []

    def run() -> None:
        if not made:
            made.append(act())
        page()

    tab.do(run)
    return made[0]


def keys(app: Any) -> set[str]:
    return {button.key for button in app.button}


def texts(app: Any) -> str:
    """All words on the page that come from Markdown."""
    kinds = (app.markdown, app.error, app.warning, app.info, app.success)
    return "\n".join(element.value for kind in kinds for element in kind)


def upload(tab: Any, name: str = "mine.pth", content: bytes = b"weights") -> Any:
    """Opens the dialog, puts a file in and presses the button."""
    show(tab, "open-model")
    tab.app.file_uploader(key="open-upload").upload(name, content)
    show(tab)
    return show(tab, "open-file")


def compressed(survey: Survey) -> Plan:
    names = [layer.view.name for layer in survey.layers if layer.curve("lowrank")]
    return Plan(survey.model).with_form(names[0], LowRank(2)).with_form(names[1], Sparse(40))


# ---- open a model


def test_samples_say_what_they_are_and_open_at_once(tab: Tabs, bench: Any) -> None:
    one = tab()
    app = show(one, "open-model")
    info = demo_info("digits-mlp")
    words = texts(app)
    assert frame.literal(info.label) in words and f"{info.n} test images" in words
    assert f"{info.nbytes / 1e3:,.0f} kB" in words
    app = show(one, "open-digits-mlp")
    assert one.address["model"] == "digits-mlp" and ask(one, state.get).data == "digits"
    assert "open-digits-mlp" not in keys(app) and bench.asked == [] and not app.exception


def test_the_dialog_stays_until_it_is_closed(tab: Tabs) -> None:
    one = tab()
    assert "open-file" in keys(show(one, "open-model"))
    assert "open-file" in keys(show(one))
    ask(one, lambda: state.dialog(""))
    assert "open-file" not in keys(show(one))


def test_a_file_is_opened_by_a_job_and_what_that_says_is_shown(tab: Tabs, bench: Any, foreign: Survey) -> None:
    one = tab()
    app = upload(one, "../../mine.pth")
    (job,) = bench.asked
    assert job.request["do"] == "survey" and job.request["arch"] == ""
    assert Path(job.request["model"]).read_bytes() == b"weights"
    assert Path(job.request["model"]).is_relative_to(sources.uploads())
    assert app.button(key="open-file").disabled and app.button(key="open-digits-mlp").disabled
    job.state, job.progress = "running", ("spectra", 3, 9)
    show(one)
    assert ask(one, state.get).model == state.DEFAULT_MODEL
    bench.end({"survey": foreign.to_json()})
    app = show(one)
    assert "open-file" not in keys(app) and one.address["model"].endswith("/mine.pth")
    words = texts(app)
    assert frame.literal("removed the prefix 'module.' from 9 names") in words and "Opened mine" in words
    assert ask(one, state.get).plan == Plan(foreign.model)


def test_calibration_is_offered_followed_and_learned(tab: Tabs, bench: Any, foreign: Survey) -> None:
    one = tab()
    upload(one)
    bench.end({"survey": foreign.to_json()})
    offer = next(button for button in show(one).button if button.label.startswith("Calibrate on digits"))
    offer.click()
    app = show(one)
    job = bench.asked[-1]
    assert (job.request["do"], job.request["data"]) == ("calibrate", "digits")
    assert f"cancel-{job.id}" in keys(app) and "Opened" not in texts(app)
    bench.end({"survey": replace(foreign, calibration="on digits").to_json()})
    show(one)
    now = ask(one, state.get)
    assert ask(one, lambda: services.survey(now.model, now.data)).calibration == "on digits"
    assert now.plan == Plan(foreign.model)


def test_a_calibration_of_the_model_before_is_not_taken_for_this_ones(
    tab: Tabs, bench: Any, foreign: Survey, survey: Survey
) -> None:
    one = tab()
    upload(one)
    bench.end({"survey": foreign.to_json()})
    show(one)
    next(button for button in one.app.button if button.label.startswith("Calibrate")).click()
    show(one)
    show(one, "open-model", "open-digits-resnet")
    bench.end({"survey": replace(foreign, calibration="on digits").to_json()})
    show(one)
    assert ask(one, lambda: services.survey(state.DEFAULT_MODEL, "digits")) == survey


def test_a_failure_stays_until_dismissed_and_nothing_chosen_is_lost(
    tab: Tabs, bench: Any, survey: Survey, foreign: Survey
) -> None:
    one, plan = tab(), compressed(survey)
    show(one)
    ask(one, lambda: (state.change_plan(plan), state.put(energy=99)))
    upload(one)
    bench.end(error="mine.pth is empty; copy or download it again.")
    for _ in range(2):
        app = show(one)
        assert [frame.literal("mine.pth is empty; copy or download it again.")] == [e.value for e in app.error]
        assert not app.button(key="open-file").disabled
    now = ask(one, state.get)
    assert (now.model, now.plan, now.energy) == (state.DEFAULT_MODEL, plan, 99)
    app = show(one, "open-error-dismiss")
    assert not app.error and "open-file" in keys(app)
    show(one, "open-file")
    bench.end({"survey": foreign.to_json()})
    show(one)
    assert one.address["model"].endswith("/mine.pth")


def test_cancelling_gives_the_form_back_and_closing_gives_up(tab: Tabs, bench: Any) -> None:
    one = tab()
    upload(one)
    (job,) = bench.asked
    app = show(one, f"cancel-in-dialog-{job.id}")
    assert job.state == "cancelled" and not app.button(key="open-file").disabled and not app.error
    show(one, "open-file")
    from app.dialogs.open_model import _closed

    ask(one, _closed)
    assert bench.asked[-1].state == "cancelled" and "open-file" not in keys(show(one))
    assert ask(one, state.get).model == state.DEFAULT_MODEL


def test_weights_alone_say_why_and_offer_no_calibration(tab: Tabs, bench: Any, foreign: Survey) -> None:
    one, reason = tab(), "its names match no network that can be built"
    upload(one)
    bench.end({"survey": replace(foreign, reason=reason, arch="").to_json()})
    app = show(one)
    assert f"weights only, because {reason}" in texts(app)
    assert not [button for button in app.button if button.label.startswith("Calibrate")]
    assert "Opened" not in texts(show(one, "dismiss-opened"))


def test_data_that_do_not_fit_are_not_offered(tab: Tabs, bench: Any, foreign: Survey) -> None:
    one = tab()
    upload(one)
    bench.end({"survey": replace(foreign, input_shape=(3, 32, 32)).to_json()})
    app = show(one)
    assert "3 × 32 × 32, which the digits do not fit" in texts(app)
    assert not [button for button in app.button if button.label.startswith("Calibrate")]


def test_the_servers_folder_is_listed_and_nothing_else(
    tab: Tabs, bench: Any, foreign: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tab()
    assert "RANKSCOPE\\_MODELS" in texts(show(one, "open-model")).replace("RANKSCOPE_MODELS", "RANKSCOPE\\_MODELS")
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("RANKSCOPE_MODELS", str(tmp_path / "models"))
    assert "holds no checkpoint" in texts(show(one))
    (tmp_path / "models" / "net.th").write_bytes(b"x")
    (tmp_path / "models" / "d.npz").write_bytes(b"x")
    app = show(one)
    assert app.selectbox(key="open-folder").options == ["net.th · 0.0 MB · th"]
    app.selectbox(key="open-data").select("folder:d.npz")
    app.text_input(key="open-arch").input(" resnet20 ")
    show(one)
    show(one, "open-folder-file")
    (job,) = bench.asked
    assert job.request["arch"] == "resnet20" and job.request["model"].endswith("/models/net.th")
    bench.end({"survey": foreign.to_json()})
    show(one)
    now = ask(one, state.get)
    assert (now.model, now.data, now.arch) == ("folder:net.th", "folder:d.npz", "resnet20")
    assert {"arch": "resnet20", "data": "folder:d.npz"}.items() <= one.address.items()


def test_other_data_for_the_open_model_keep_its_plan(tab: Tabs, bench: Any, survey: Survey) -> None:
    one, plan = tab(), compressed(survey)
    show(one)
    ask(one, lambda: state.change_plan(plan))
    show(one, "open-model")
    one.app.selectbox(key="open-data").select("upload")
    show(one)
    assert "open-data-only" not in keys(one.app)
    one.app.file_uploader(key="open-data-file").upload("d.npz", b"content")
    show(one)
    app = show(one, "open-data-only")
    now = ask(one, state.get)
    assert now.data.endswith("/d.npz") and now.plan == plan and "open-file" not in keys(app)


def test_a_hostile_name_is_shown_as_it_is(tab: Tabs, bench: Any, foreign: Survey, survey: Survey) -> None:
    one = tab()
    upload(one, f"{HOSTILE}.pth".replace("/", "|"))
    bench.end(error=f"{HOSTILE} is empty; copy it again.")
    (card,) = show(one).error
    assert card.value == frame.literal(f"{HOSTILE} is empty; copy it again.")
    show(one, "open-file")
    named = replace(foreign, model=replace(foreign.model, name=HOSTILE), notes=(HOSTILE,), arch=HOSTILE)
    bench.end({"survey": named.to_json()})
    words = texts(show(one))
    assert frame.literal(HOSTILE) in words and HOSTILE not in words


def test_a_hostile_name_of_data_is_shown_as_it_is(tab: Tabs, bench: Any, survey: Survey) -> None:
    one, name = tab(), HOSTILE.replace("/", "|").replace(":", "?")
    source = sources.store_upload(name, b"x")
    show(one)
    ask(one, lambda: (state.put(data=source), state.change_plan(compressed(survey))))
    assert frame.literal(name) in show(one, "share").toggle(key="export-repair").label


@pytest.mark.parametrize("text", [HOSTILE, "\\", "a\\*b", "1. x", "| a |", "~~x~~", "# h", "&amp;", ":material/x:"])
def test_literal_escapes_every_mark(text: str) -> None:
    shown = frame.literal(text)
    assert re.sub(r"\\(.)", r"\1", shown) == text
    assert not re.search(r"(?<!\\)(?:\\\\)*[*_`<>\[\]$~#|:]", shown)


# ---- links to models


@pytest.mark.parametrize("model", ["../../etc/passwd", "upload:../x", "folder:x.pt", "no-such-demo"])
def test_a_link_to_what_cannot_be_opened_shows_the_demo_and_says_so(tab: Tabs, bench: Any, model: str) -> None:
    one = tab(model=model, cfg="whatever")
    app = show(one)
    (notice,) = app.warning
    assert notice.value.endswith(frame.literal("Showing the demo instead.")) and bench.asked == []
    assert one.address["model"] == state.DEFAULT_MODEL and "cfg" not in one.address


@pytest.mark.parametrize("ending", ["fails", "is cancelled", "works"])
def test_a_link_to_a_file_opens_it_once(tab: Tabs, bench: Any, foreign: Survey, ending: str) -> None:
    source = sources.store_upload("mine.pth", b"x")
    one = tab(model=source, layers="gone", cfg=links.plan_text(compressed(foreign)))
    show(one)
    (job,) = bench.asked
    assert f"cancel-{job.id}" in keys(show(one))
    if ending == "fails":
        bench.end(error="mine.pth is empty; copy it again.")
    elif ending == "is cancelled":
        one.app.button(key=f"cancel-{job.id}").click()
    else:
        bench.end({"survey": foreign.to_json()})
    app = show(one)
    show(one)
    assert len(bench.asked) == 1, "it is not tried again and again"
    if ending == "works":
        assert ask(one, state.get).plan == compressed(foreign) and one.address["model"] == source
        assert [w.value for w in app.warning] == [
            frame.literal("This link names layers that mine.pth does not have: gone.")
        ]
    else:
        assert one.address["model"] == state.DEFAULT_MODEL
        assert frame.literal("Showing the demo instead.") in app.warning[0].value


# ---- share and export


def test_the_link_is_the_address_and_says_when_it_is_not_all(tab: Tabs, survey: Survey, monkeypatch: Any) -> None:
    one = tab()
    show(one)
    ask(one, lambda: state.change_plan(compressed(survey)))
    app = show(one, "share")
    assert app.code[0].value == ask(one, state.link) and "cfg=" in app.code[0].value
    assert "too long" not in texts(app)
    monkeypatch.setattr(links, "LONGEST", 10)
    app = show(one)
    assert "cfg=@" in app.code[0].value and "too long" in texts(app)


def test_a_plan_goes_to_a_file_and_back(tab: Tabs, survey: Survey) -> None:
    one, plan = tab(), replace(compressed(survey), repair=Repair(("bias",), 64, 1))
    app = show(one, "share")
    app.file_uploader(key="plan-file").upload("plan.json", b"\xef\xbb\xbf" + plan.to_json().encode())
    show(one)
    assert ask(one, state.get).plan == Plan(survey.model), "nothing changes before the button"
    app = show(one, "use-plan")
    assert ask(one, state.get).plan == plan and "2 layers set" in texts(app) and not app.error
    ask(one, state.undo)
    assert ask(one, state.get).plan == Plan(survey.model)


def other_weights(plan: Plan) -> str:
    return replace(plan, model=replace(plan.model, digest="00" * 32)).to_json()


def strange_layer(plan: Plan) -> str:
    return plan.with_form(HOSTILE, LowRank(1)).to_json()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda plan: b"", "not valid JSON"),
        (lambda plan: plan.to_json().encode()[:-40], "not valid JSON"),
        (lambda plan: b"\xff\xfe\x00", "is not a plan"),
        (lambda plan: b"[" * 100_000, "not valid JSON"),
        (lambda plan: b'{"schema": 99}', "not of schema"),
        (lambda plan: json.dumps({**json.loads(plan.to_json()), "layers": 3}).encode(), "lacks or misstates"),
        (lambda plan: plan.to_json().replace('"rank": 2', '"rank": 2000').encode(), "cannot take the form"),
        (lambda plan: plan.to_json().replace('"samples": 1000', '"samples": 1e999').encode(), "lacks or misstates"),
        (lambda plan: other_weights(plan).encode(), "made for other weights"),
        (lambda plan: strange_layer(plan).encode(), "has no layer"),
    ],
)
def test_a_file_that_is_no_plan_of_this_model_is_one_sentence(
    tab: Tabs, survey: Survey, make: Callable[[Plan], bytes], says: str
) -> None:
    one, before = tab(), Plan(survey.model).with_form(compressed(survey).layers[0].layer, LowRank(1))
    show(one)
    ask(one, lambda: state.change_plan(before))
    app = show(one, "share")
    app.file_uploader(key="plan-file").upload("plan.json", make(compressed(survey)))
    show(one)
    app = show(one, "use-plan")
    (card,) = app.error
    assert frame.literal(says) in card.value and HOSTILE not in card.value
    assert ask(one, state.get).plan == before and "layers set" not in texts(app)
    assert not show(one, "plan-error-dismiss").error


def test_the_table_has_a_row_a_layer_and_says_what_made_it(tab: Tabs, survey: Survey) -> None:
    from app.dialogs.share import _table

    named = "=cmd|' /C calc'!A0"
    first, *rest = survey.layers
    hostile = replace(survey, layers=(replace(first, view=replace(first.view, name=named)), *rest))
    text = ask(tab(), lambda: _table(hostile, Plan(survey.model), state.get()))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["layer"] for row in rows] == ["'" + named, *(layer.view.name for layer in rest)]
    assert all(row["made with"].startswith("20") and "torch" in row["made with"] for row in rows)


def test_the_code_tab_shows_what_the_code_prints(tab: Tabs, survey: Survey) -> None:
    one, plan = tab(), compressed(survey)
    show(one)
    ask(one, lambda: state.change_plan(plan))
    app = show(one, "share")
    cost = plan_cost(plan, survey.views, survey.rest)
    assert "LowRank(rank=2" in app.code[1].value
    assert f"They print {cost.params:,} parameters, {cost.macs:,} MACs" in texts(app)


CHECK = {
    "max_difference": 2.5e-7,
    "outputs": 80,
    "ok": True,
    "files": [{"name": "plan.json", "size": 7, "sha256": "ab" * 32}],
}


def export(tab: Any, plan: Plan) -> Any:
    show(tab)
    ask(tab, lambda: state.change_plan(plan))
    show(tab, "share")
    return show(tab, "export")


def test_an_export_is_a_job_whose_check_is_shown(tab: Tabs, bench: Any, survey: Survey) -> None:
    one, plan = tab(), compressed(survey)
    app = export(one, plan)
    (job,) = bench.asked
    assert job.request["do"] == "export" and Plan.from_json(job.request["plan"]) == plan
    assert job.request["data"] == "digits" and f"cancel-in-dialog-{job.id}" in keys(app)
    assert app.button(key="export").disabled and not app.get("download_button")[2:]
    Path(job.request["out"]).mkdir(parents=True)
    bench.end(CHECK)
    app = show(one)
    assert "largest difference 2.5e-07 over 80 outputs" in texts(app)
    assert [button.label for button in app.get("download_button")].count("Save as a zip") == 1
    assert app.dataframe[0].value["SHA-256"][0] == "ab" * 32
    ask(one, lambda: state.change_plan(plan.with_form(plan.layers[0].layer, LowRank(1))))
    assert "largest difference" not in texts(show(one)), "it was of another plan"


def test_an_export_that_does_not_read_back_is_not_called_good(tab: Tabs, bench: Any, survey: Survey) -> None:
    one = tab()
    export(one, compressed(survey))
    Path(bench.asked[0].request["out"]).mkdir(parents=True)
    bench.end({**CHECK, "ok": False, "max_difference": 3.0})
    app = show(one)
    assert "differ" in app.error[0].value and not app.success


def test_an_export_that_fails_or_is_cancelled_can_be_tried_again(tab: Tabs, bench: Any, survey: Survey) -> None:
    one = tab()
    export(one, compressed(survey))
    bench.end(error="The disk is full; free some space.")
    app = show(one)
    assert app.error[0].value == frame.literal("The disk is full; free some space.")
    assert not app.button(key="export").disabled and show(one).error
    show(one, "export")
    app = show(one, f"cancel-in-dialog-{bench.asked[1].id}")
    assert bench.asked[1].state == "cancelled" and not app.button(key="export").disabled and not app.error


def test_an_export_without_data_is_plain_truncation(tab: Tabs, bench: Any, survey: Survey) -> None:
    one = tab()
    show(one)
    ask(one, lambda: state.change_plan(compressed(survey)))
    app = show(one, "share")
    app.toggle(key="export-repair").set_value(False)
    show(one)
    show(one, "export")
    (job,) = bench.asked
    assert job.request["data"] == "" and Plan.from_json(job.request["plan"]).repair.steps == ()
    assert ask(one, state.get).plan == compressed(survey)


@pytest.mark.parametrize("runs", [True, False])
def test_nothing_to_export_says_why(tab: Tabs, bench: Any, foreign: Survey, runs: bool) -> None:
    one = tab()
    upload(one)
    bench.end({"survey": replace(foreign, reason="" if runs else "it is not a known network").to_json()})
    show(one)
    app = show(one, "share")
    assert ("No layer is compressed yet" if runs else "it is not a known network") in texts(app)
    assert "export" not in keys(app)


# ---- about


def test_the_shortcuts_listed_are_the_ones_there_are(tab: Tabs) -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    literal = set(re.findall(r'shortcut="(.)"', source))
    by_loop = set(re.findall(r'\("(.)", [-+]?\d+, "[A-Z]', source)) if "shortcut=key" in source else set()
    from app.dialogs.about import SHORTCUTS

    listed = {key for keys, _, _ in SHORTCUTS for key in keys.split(", ")}
    assert listed == literal | by_loop
    one = tab()
    assert "about" in keys(show(one)) and not show(one, "about").exception


def test_the_report_has_versions_and_settings_and_no_path(
    tab: Tabs, bench: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from app.dialogs.about import diagnostics

    monkeypatch.setenv("RANKSCOPE_MODELS", str(tmp_path))
    bench.submit({})
    text = ask(tab(), diagnostics)
    for part in ("python 3.", "torch 2.", "streamlit 1.", "server.address = ", "folder on the server: set", "1 queued"):
        assert part in text
    assert str(tmp_path) not in text and str(Path.home()) not in text and str(ROOT) not in text
    assert callable(about)


# ---- with the real worker


def test_real_files_through_the_real_worker(tab: Tabs, bench: Any, tmp_path: Path, monkeypatch: Any) -> None:
    torch = pytest.importorskip("torch")
    from core.networks.zoo import build, parse_arch

    pool = Pool(workers=1)
    monkeypatch.setattr(services, "pool", lambda: pool)
    good, evil = io.BytesIO(), b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R."
    torch.save({"state_dict": build(parse_arch("mlp:64-16-10")).state_dict()}, good)
    one = tab()
    upload(one, "evil.pt", evil)
    settle(one)
    (card,) = show(one).error
    assert "os" in card.value and "system" in card.value and str(tmp_path) not in card.value
    assert ask(one, state.get).model == state.DEFAULT_MODEL
    one.app.file_uploader(key="open-upload").set_value(("small.pt", good.getvalue(), ""))
    show(one)
    show(one, "open-file")
    settle(one)
    words = texts(show(one))
    pool.close()
    assert one.address["model"].endswith("/small.pt"), words
    assert "MLP 64\\-16\\-10" in words and "Calibrate" in "".join(button.label for button in one.app.button)


def settle(tab: Any, seconds: float = 60.0) -> None:
    """Waits until the job that opens a model is over."""
    job = ask(tab, lambda: services.job(state.job("open")))
    began = time.monotonic()
    while not job.over:
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
