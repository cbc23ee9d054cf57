"""The selection, its history and its address, in tabs without a browser."""

from __future__ import annotations

import base64
import json
import random
import string
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from app import links, state
from core.compression.plans import LayerPlan, Plan, Repair
from core.compression.survey import Survey
from core.networks.forms import (
    FAMILIES,
    Dense,
    Filters,
    Form,
    LowRank,
    LowRankSparse,
    RandomSparse,
    SemiSparse,
    Sparse,
    SpatialLowRank,
)

Tabs = Callable[..., Any]


def usable(survey: Survey, family: str) -> list[str]:
    return [layer.view.name for layer in survey.layers if not layer.obstacle and layer.curve(family)]


def every_form(survey: Survey) -> Plan:
    """A plan that holds every kind of form, each on another layer."""
    spatial, inward = usable(survey, "spatial"), usable(survey, "lowrank_in")
    names = list(dict.fromkeys([spatial[-1], inward[-2], *usable(survey, "lowrank")]))
    forms = [SpatialLowRank(2), LowRank(2, True), LowRank(3), Sparse(17), Filters(1)]
    semi = next(name for name in usable(survey, "sparse24") if name not in names[:5])
    layers = [*zip(names[:5], forms, strict=True), (semi, SemiSparse())]
    spare = [name for name in usable(survey, "sparse") if name not in dict(layers)]
    layers += [(spare[0], RandomSparse(23)), (spare[1], LowRankSparse(2, 31))]
    return Plan(survey.model, tuple(LayerPlan(name, form) for name, form in layers))


def large(survey: Survey, num_layers: int) -> tuple[Survey, Plan]:
    """The first layer of a survey many times over, and a plan with another rank for each."""
    first = next(layer for layer in survey.layers if not layer.obstacle)
    names = [f"blocks.{i}.weight" for i in range(num_layers)]
    layers = tuple(replace(first, view=replace(first.view, name=name)) for name in names)
    full = FAMILIES["lowrank"].full(first.view)
    made = tuple(LayerPlan(name, LowRank(1 + i % full)) for i, name in enumerate(names))
    return replace(survey, layers=layers), Plan(survey.model, made)


def test_a_plan_of_every_form_survives_the_address(survey: Survey) -> None:
    plan = every_form(survey)
    assert {entry.form.family for entry in plan.layers} == {*FAMILIES, "lowrank_sparse"}
    text = links.encode_plan(plan)
    assert set(text) <= set(string.ascii_letters + string.digits + "-_") and len(text) < 150
    assert links.decode_plan(text, survey) == plan


def test_a_link_of_an_earlier_version_is_read(survey: Survey) -> None:
    """What version 0.1 wrote before forms had a second number."""
    text = "LyjVI3ja42dgYH7BAAWC7KpbGYE0c2QN-2sWkMCB0rBANiCDMeGjtR4rkGFU3qWfywRkML1rrrvODGIAAGHUDA0"
    forms = {
        "conv1": LowRank(3),
        "layer1.0.conv1": Sparse(17),
        "layer1.0.conv2": Filters(1),
        "layer2.0.conv1": SemiSparse(),
        "layer3.0.conv1": LowRank(2, True),
        "layer3.0.conv2": SpatialLowRank(2),
    }
    wanted = Plan(survey.model, tuple(LayerPlan(name, form) for name, form in forms.items()))
    assert links.decode_plan(text, survey) == wanted and links.encode_plan(wanted) == text


@pytest.mark.parametrize("form", [RandomSparse(40, 7), RandomSparse(40, 2**32 - 1), LowRankSparse(3, 70_000)])
def test_the_second_number_of_a_form_is_part_of_the_address(survey: Survey, form: Form) -> None:
    name = usable(survey, "sparse")[-1]
    if isinstance(form, LowRankSparse):
        form = replace(form, nonzeros=survey.layer(name).view.size)
    plan = Plan(survey.model, (LayerPlan(name, form), LayerPlan(usable(survey, "lowrank")[0], LowRank(2))))
    assert links.decode_plan(links.encode_plan(plan), survey) == plan


def test_a_second_number_without_its_layer_is_dropped_and_a_half_form_refused(survey: Survey) -> None:
    name = usable(survey, "sparse")[-1]

    def link(*rows: tuple[int, int]) -> str:
        body = struct.pack(">BIq", 0, 10, 0)
        body += b"".join(struct.pack(">IBI", zlib.crc32(name.encode()), *row) for row in rows)
        packed = zlib.compress(body, 9)
        whole = struct.pack(">I", zlib.crc32(packed + survey.model.digest.encode())) + packed
        return base64.urlsafe_b64encode(whole).decode().rstrip("=")

    made = links.decode_plan(link((8, 2), (255, 30)), survey)
    assert made is not None and made.form(name) == LowRankSparse(2, 30)
    assert links.decode_plan(link((255, 30)), survey) == Plan(survey.model, (), Repair((), 10, 0))
    assert links.decode_plan(link((8, 2)), survey) is None, "no entries"
    assert links.decode_plan(link((9, 2)), survey) is None, "a family of a later version"


@pytest.mark.parametrize("repair", [Repair(()), Repair(("sequential", "bias"), 77, -3), Repair(seed=2**40)])
def test_the_repair_is_part_of_the_address(survey: Survey, repair: Repair) -> None:
    plan = replace(every_form(survey), repair=repair)
    assert links.decode_plan(links.encode_plan(plan), survey) == plan


@pytest.mark.parametrize("num_layers", [0, 1, 2, 3, 6])
def test_no_single_changed_character_gives_another_plan(survey: Survey, num_layers: int) -> None:
    plan = every_form(survey)
    plan = replace(plan, layers=plan.layers[:num_layers])
    text, draw = links.encode_plan(plan), random.Random(0)
    letters = string.ascii_letters + string.digits + "-_."
    for i in range(len(text)):
        others = (
            [c for c in letters if c != text[i]] if i == len(text) - 1 else [draw.choice(letters.replace(text[i], ""))]
        )
        for other in others:  # of the last one some bits are not used
            assert links.decode_plan(text[:i] + other + text[i + 1 :], survey) is None, (i, other)


@pytest.mark.parametrize("text", ["", "A", "====", "@", "@../../etc/passwd", "ü", "A" * 5000, "eNo", "\x00"])
def test_nonsense_is_no_plan(survey: Survey, text: str) -> None:
    assert links.decode_plan(text, survey) is None


def test_a_bomb_is_not_unpacked(survey: Survey) -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(b"\0" * 200_000_000, 9)).decode().rstrip("=")
    assert links.decode_plan(bomb, survey) is None


def test_a_plan_of_other_weights_is_refused(survey: Survey) -> None:
    plan = every_form(survey)
    other = replace(survey, model=replace(survey.model, digest="00" * 32))
    assert links.decode_plan(links.encode_plan(plan), other) is None


def test_a_plan_too_long_for_an_address_is_stored_under_an_id(bench: Any, survey: Survey, tmp_path: Path) -> None:
    small, few = large(survey, 40)
    assert len(links.plan_text(few)) < 500 and not links.plan_text(few).startswith("@")
    big, plan = large(survey, 400)
    text = links.plan_text(plan)
    assert text.startswith("@") and len(text) == 25
    assert links.decode_plan(text, big) == plan and links.is_stored(text)
    assert links.plan_text(plan) == text, "equal plans are stored once"
    stored = list((tmp_path / "home").rglob("*.json"))
    assert len(stored) == 1 and json.loads(stored[0].read_text())["schema"] == 1
    assert links.decode_plan(text, small) is None
    stored[0].write_text("{}")
    assert links.decode_plan(text, big) is None
    assert not links.is_stored("@" + "0" * 24)
    (tmp_path / "home" / "outside.json").write_text(plan.to_json())
    assert links.decode_plan("@../outside", big) is None


def test_a_link_brings_the_whole_state_to_another_tab(tab: Tabs, survey: Survey) -> None:
    names = [view.name for view in survey.views]
    one, other = tab(), tab()

    def choose() -> str:
        state.fit(survey)
        state.put(selected=tuple(names[:3]), primary=names[2], energy=95, quantity="params", mode="sparsity")
        state.put(locked=(names[1],), data="folder:x.npz", arch="resnet20", pinned=Plan(survey.model))
        state.change_plan(every_form(survey))
        return state.link()

    address = one.do(choose)
    assert dict(parse_qsl(address.partition("?")[2])) == one.address
    for name, text in one.address.items():
        other.app.query_params[name] = text
    assert other.do(lambda: (state.fit(survey), state.notices())) == (one.do(state.get), ())
    assert other.address == one.address


@pytest.mark.parametrize("name", ["a,b", "a%2Cb", "100%", "é ü", "<img src=x onerror=alert(1)>", "a&b=c#d"])
def test_layer_names_survive_the_address_whatever_they_hold(tab: Tabs, survey: Survey, name: str) -> None:
    first, *rest = survey.layers
    hostile = replace(survey, layers=(replace(first, view=replace(first.view, name=name)), *rest))
    one, other = tab(), tab()
    one.do(lambda: (state.fit(hostile), state.put(selected=(name, rest[0].view.name), primary=name)))
    for parameter, text in one.address.items():
        other.app.query_params[parameter] = text
    now = other.do(lambda: state.fit(hostile))
    assert (now.selected, now.primary) == ((name, rest[0].view.name), name)


def test_a_damaged_configuration_gives_the_defaults_and_one_notice(tab: Tabs, survey: Survey) -> None:
    text = links.encode_plan(every_form(survey))
    one = tab(cfg=text[:9] + ("A" if text[9] != "A" else "B") + text[10:], energy="85")
    now, notices = one.do(lambda: (state.fit(survey), state.notices()))
    assert now.plan == Plan(survey.model) and now.energy == 90
    assert notices == ("The configuration in this link is damaged or of another model; showing the model as it is.",)
    one.do(state.mirror)
    assert "cfg" not in one.address
    assert one.do(lambda: (state.dismiss(notices[0]), state.dismiss(notices[0]), state.notices()))[2] == ()


def test_a_configuration_stored_elsewhere_says_so(tab: Tabs, survey: Survey) -> None:
    now, notices = tab(cfg="@" + "0" * 24).do(lambda: (state.fit(survey), state.notices()))
    assert now.plan == Plan(survey.model)
    assert len(notices) == 1 and "stored on another machine" in notices[0]


def test_unknown_layers_of_a_link_are_listed_and_the_known_ones_kept(tab: Tabs, survey: Survey) -> None:
    known = [view.name for view in survey.views][:2]
    one = tab(layers=f"{known[0]},gone.a,{known[1]}", layer="gone.b", lock=f"gone.c,{known[1]}")
    now, notices = one.do(lambda: (state.fit(survey), state.notices()))
    assert now.selected == tuple(known) and now.locked == (known[1],) and now.primary in [v.name for v in survey.views]
    assert len(notices) == 1
    assert notices[0].endswith("gone.a, gone.c, gone.b.") and survey.model.name in notices[0]


def test_many_unknown_layers_are_counted_not_listed(tab: Tabs, survey: Survey) -> None:
    one = tab(lock=",".join(f"{i}-{'x' * 200}" for i in range(50)))
    notice = one.do(lambda: (state.fit(survey), state.notices()))[1][0]
    assert notice.endswith("and 42 more.") and len(notice) < 1000


def test_an_unknown_schema_opens_the_defaults_and_says_so(tab: Tabs, survey: Survey) -> None:
    one = tab(s="7", model="digits-vit", energy="95", layers="x", cfg="y", teach="true")
    now, notices = one.do(lambda: (state.fit(survey), state.notices()))
    assert now == replace(state.Selection(), plan=Plan(survey.model), primary=now.primary)
    assert notices == ("This link was made by another version of Rankscope; showing the defaults.",)
    assert one.address["s"] == "1" and "cfg" not in one.address and one.do(state.teaching)


@pytest.mark.parametrize("query", [{"energy": "1e9"}, {"mode": "x"}, {"by": "joules"}, {"layers": "%zz,,"}])
def test_garbage_parameters_are_ignored(tab: Tabs, survey: Survey, query: dict[str, str]) -> None:
    now = tab(**query).do(lambda: state.fit(survey))
    assert (now.energy, now.mode, now.quantity) == (90, "rank", "macs")


def test_undo_and_redo_go_fifty_steps_and_stop(tab: Tabs, survey: Survey) -> None:
    one, name = tab(), usable(survey, "sparse")[0]
    plans = [Plan(survey.model).with_form(name, Sparse(i + 1)) for i in range(60)]
    one.do(lambda: (state.fit(survey), [state.change_plan(plan) for plan in plans]))

    def back_and_forth() -> tuple[list[Plan], list[Plan]]:
        back, forth = [], []
        while state.can_undo():
            state.undo()
            back.append(state.get().plan)
        state.undo()
        while state.can_redo():
            state.redo()
            forth.append(state.get().plan)
        return back, forth

    back, forth = one.do(back_and_forth)
    assert back == plans[58:8:-1] and len(back) == state.HISTORY == 50
    assert forth == plans[10:]


def test_a_change_forgets_what_was_undone_and_no_change_is_no_step(tab: Tabs, survey: Survey) -> None:
    one, name = tab(), usable(survey, "sparse")[0]

    def act() -> tuple[bool, bool, bool]:
        state.fit(survey)
        start = state.get().plan
        assert start is not None
        state.change_plan(start.with_form(name, Dense()))
        unchanged = state.can_undo()
        state.change_plan(start.with_form(name, Sparse(3)))
        state.undo()
        redo = state.can_redo()
        state.change_plan(start.with_form(name, Sparse(4)))
        return unchanged, redo, state.can_redo()

    assert one.do(act) == (False, True, False)


def test_the_revision_rises_when_python_changes_the_bars_and_not_when_they_do(tab: Tabs, survey: Survey) -> None:
    one, name = tab(), usable(survey, "sparse")[0]

    def act() -> list[int]:
        state.fit(survey)
        plan, seen = Plan(survey.model), [state.revision()]
        state.change_plan(plan.with_form(name, Sparse(3)), from_component=True)
        seen.append(state.revision())
        state.change_plan(plan.with_form(name, Sparse(5)))
        seen.append(state.revision())
        state.undo()
        return [*seen, state.revision()]

    a, b, c, d = one.do(act)
    assert a == b < c < d


def test_two_tabs_do_not_cross(tab: Tabs, survey: Survey) -> None:
    one, other = tab(), tab()
    name = usable(survey, "sparse")[0]
    one.do(lambda: (state.fit(survey), state.change_plan(Plan(survey.model).with_form(name, Sparse(3)))))
    one.do(lambda: (state.notice("only here"), state.job("measure", "id"), state.dialog("share")))
    other.do(lambda: state.fit(survey))
    seen = other.do(lambda: (state.get().plan, state.notices(), state.job("measure"), state.dialog(), state.can_undo()))
    assert seen == (Plan(survey.model), (), "", "", False)
    assert one.do(state.tab) != other.do(state.tab)
    assert one.do(lambda: state.get().plan.form(name)) == Sparse(3)


def test_opening_another_model_starts_afresh(tab: Tabs, survey: Survey, foreign: Survey) -> None:
    one, name = tab(cfg="damaged"), usable(survey, "sparse")[0]
    one.do(lambda: (state.fit(survey), state.change_plan(Plan(survey.model).with_form(name, Sparse(3)))))
    one.do(lambda: (state.put(locked=(name,), pinned=Plan(survey.model)), state.job("calibrate", "old")))

    def act() -> tuple[Any, ...]:
        state.open_model("upload:ab/mine.pth", "folder:d.npz", foreign, "resnet20")
        now = state.get()
        return now, state.can_undo(), state.job("calibrate"), state.fresh()

    now, undo, job, fresh = one.do(act)
    assert (now.model, now.data, now.arch) == ("upload:ab/mine.pth", "folder:d.npz", "resnet20")
    assert now.plan == Plan(foreign.model) and now.pinned is None and now.locked == ()
    assert (undo, job, fresh) == (False, "", True)
    assert one.address["model"] == "upload:ab/mine.pth" and one.address["arch"] == "resnet20"
