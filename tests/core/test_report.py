"""The report as a browser takes it: parsed, its links followed, its numbers added up; never by its own functions."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

from core.compression.apply import apply
from core.compression.fitting import StepGain
from core.compression.plans import LayerPlan, Plan, Repair
from core.compression.surveying import calibrate, survey_model
from core.networks.arch import ModelRef, parse_arch
from core.networks.checkpoints import Opened
from core.networks.forms import Filters, LowRank, LowRankSparse, SpatialLowRank
from core.networks.user_code import from_module
from core.networks.zoo import build
from core.provenance import Measurement, Provenance
from core.report import Facts, Proof, report
from core.report_page import spectrum_drawing
from core.training.evaluate import Latency

HOSTILE = '<img src=x onerror="alert(1)">&"\'</table><script>alert(2)</script>\u202egnp'
MADE = Provenance("2026-01-02T03:04Z", ("python 3.11.7", "torch 2.13.0"), "cpu", 2)
PROOF = Proof(30, 0.0, (("model.safetensors", 1234, "ab" * 32),), ("head.weight is the same tensor",), True)
VOID = {"meta", "br", "wbr", "img", "link", "input"}


class Page(HTMLParser):
    """Every element with its attributes, the visible text, and the cells of each table row by row."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open or "title" in self.open:
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def table(self, *heads: str) -> list[list[str]]:
        """The rows of the table that has these headings."""
        return next(rows for rows in self.tables if any(set(heads) <= set(row) for row in rows))


def surveyed(text: str = "resnet8:channels=1,width=4", name: str = "net.pt"):
    arch = parse_arch(text)
    network = build(arch).eval()
    opened = Opened(ModelRef("file", name, "d" * 64), network.state_dict(), arch, network, ("recognised",))
    return survey_model(opened), network


def plan_of(survey, **forms) -> Plan:
    return Plan(survey.model, tuple(LayerPlan(k.replace("__", "."), v) for k, v in forms.items()), Repair((), 100, 7))


def measured(value: float, n: int = 2000, seed: int = 5) -> Measurement:
    return Measurement("top-1 accuracy", value, (value * (1 - value) / n) ** 0.5, n, seed, MADE_ON)


MADE_ON = Provenance("2026-01-02T03:04Z", ("torch 2.13.0",), "cpu", 1, "2,000 test examples of digits")


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def test_a_page_asks_nothing_of_anyone_and_runs_nothing():
    survey, _ = surveyed()
    source = report(plan_of(survey, layer1__0__conv1=LowRank(2)), survey, Facts(), MADE, PROOF)
    page = Page(source)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "link", "img", "base", "form", "image", "use"}
    for tag, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "style", "action")], tag
        assert attributes.get("href", "#").startswith("#")
    style = source[source.index("<style>") : source.index("</style>")]
    assert "url(" not in style and "@import" not in style and "http" not in source.replace("http-equiv", "")
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_hostile_names_are_words():
    network = nn.Sequential()
    network.add_module(HOSTILE, nn.Linear(8, 6))
    network.add_module("plain", nn.Linear(6, 4))
    survey = survey_model(from_module(network, HOSTILE))
    plan = Plan(survey.model, (LayerPlan(HOSTILE, LowRank(2)),))
    gains = (StepGain(HOSTILE, 0.1, True, 0.0),)
    facts = Facts(measured(0.5), measured(0.4), gains, ((HOSTILE, measured(0.3)),), HOSTILE)
    proof = Proof(1, 0.0, ((HOSTILE, 1, HOSTILE),), (HOSTILE,), False)
    source = report(plan, survey, facts, MADE, proof)
    page = Page(source)
    assert not {"img", "script"} & {tag for tag, _ in page.elements}
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert page.table("layer", "form")[2][0] == shown
    assert page.text.count(shown) >= 7 and "\u202e" not in source


def test_every_link_leads_to_a_definition_and_every_heading_of_the_layer_table_has_one():
    survey, _ = surveyed()
    facts = Facts(measured(0.9), measured(0.8), (StepGain("plain", 0.2, True, 1.0),), (), "data", latency_of(1.0, 0.5))
    source = report(plan_of(survey, layer1__0__conv1=LowRank(2)), survey, facts, MADE, PROOF)
    page = Page(source)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    targets = {a["href"][1:] for tag, a in page.elements if tag == "a"}
    assert len(ids) == len(set(ids)) and targets <= set(ids)
    assert {"layer", "shape", "form", "level", "parameters", "macs", "bytes", "weight-error", "output-error"} <= targets
    assert {"accuracy", "spread", "seed", "repair", "distance", "calibration", "latency", "noise", "digest"} <= targets


@pytest.mark.parametrize("text", ["resnet8:channels=1,width=4", "mlp:36-20-16-10"])
def test_the_rows_add_up_to_the_network_that_is_built(text):
    survey, network = surveyed(text)
    names = [layer.view.name for layer in survey.layers]
    plan = Plan(survey.model, (LayerPlan(names[1], LowRank(3)),))
    if "resnet" in text:
        plan = plan.with_form(names[2], SpatialLowRank(2)).with_form(names[4], LowRank(4, True))
    page = Page(report(plan, survey, Facts(), MADE, PROOF))
    changed, left = page.table("layer", "form"), page.table("layer", "why")
    rows, foot = changed[2:-1], changed[-1]
    assert {row[0] for row in rows} == {entry.layer for entry in plan.layers}
    assert {row[0] for row in rows} | {row[0] for row in left[1:]} == set(names)
    before, after = (sum(p.numel() for p in m.parameters()) for m in (network, apply(plan, network)))
    assert (number(foot[4]), number(foot[5])) == (before, after)
    rest = sum(int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) parameters", page.text))
    assert sum(number(row[4]) for row in rows) + sum(number(row[2]) for row in left[1:]) + rest == before
    for row in rows:
        built = apply(plan, network).get_submodule(row[0])
        assert number(row[5]) == sum(p.numel() for p in built.parameters())
    totals = {row[0]: row for row in page.table("before", "kept")}
    assert (number(totals["parameters"][1]), number(totals["parameters"][2])) == (before, after)
    assert totals["parameters"][3] == f"{100 * after / before:.1f} %"


def test_predicted_errors_are_those_of_the_weights_and_of_the_calibration_outputs():
    survey, network = surveyed("mlp:36-20-16-10")
    plan = plan_of(survey, fc1=LowRank(4))
    page = Page(report(plan, survey, Facts(), MADE, PROOF))
    S = torch.linalg.svdvals(network.fc1.weight.detach().double())
    wanted = float((S[4:].square().sum() / S.square().sum()).sqrt())
    row = page.table("layer", "form")[2]
    assert row[10:12] == [f"{100 * wanted:.1f} %", "–"] and "output errors are not predicted" in page.text
    x = torch.randn(300, 1, 6, 6)
    page = Page(report(plan, calibrate(survey, network, x, "300 random inputs"), Facts(), MADE, PROOF))
    y = x.flatten(1) @ network.fc1.weight.T.detach()
    S = torch.linalg.svdvals(y)  # the best rank-4 outputs keep 4 of their singular values
    wanted = float((S[4:].square().sum() / S.square().sum()).sqrt())
    found = float(page.table("layer", "form")[2][11].removesuffix(" %"))
    assert found == pytest.approx(100 * wanted, abs=0.3) and "300 random inputs" in page.text


def test_numbers_come_with_their_conditions():
    survey, _ = surveyed()
    facts = Facts(measured(0.81), measured(0.784, n=2000, seed=5), (), (("sequential", measured(0.77)),))
    page = Page(report(plan_of(survey, layer1__0__conv1=LowRank(2)), survey, facts, MADE, PROOF))
    rows = {row[0]: row[1:] for row in page.table("accuracy", "conditions")}
    assert rows["compressed"][:4] == ["78.40 %", "± 0.92 %", "2,000", "5"]
    assert rows["dense"][0] == "81.00 %" and rows["after sequential"][0] == "77.00 %"
    assert "2,000 test examples of digits" in rows["compressed"][4] and "cpu" in rows["compressed"][4]
    assert "Change: −2.60 percentage points" in page.text
    for words in ("torch 2.13.0", "python 3.11.7", "2026-01-02T03:04Z", "d" * 64, "ab" * 32, "Seed of the repair: 7"):
        assert words in re.sub(r"\s+", " ", page.text).replace(" :", ":"), words


def test_what_was_not_measured_says_so_and_shows_no_number():
    survey, _ = surveyed()
    page = Page(report(plan_of(survey, layer1__0__conv1=LowRank(2)), survey, Facts(), MADE, PROOF))
    rows = {row[0]: row[1:] for row in page.table("accuracy", "conditions")[1:]}
    assert rows == {name: ["not measured", "–", "–", "–", "–"] for name in ("dense", "compressed")}
    assert page.text.count("not measured") == 4 and "No step was run" in page.text and "Change:" not in page.text


def test_each_repair_step_is_shown_kept_or_not():
    survey, _ = surveyed()
    gains = (StepGain("plain", 0.5, True, 0.1), StepGain("whitened", 0.25, True, 0.2))
    gains += (StepGain("batchnorm", float("inf"), False, 0.3),)
    page = Page(report(plan_of(survey), survey, Facts(gains=gains, calibration="100 digits"), MADE, PROOF))
    rows = page.table("step", "seconds")[1:]
    assert rows == [
        ["plain", "0.5000", "kept", "0.1"],
        ["whitened", "0.2500", "kept", "0.2"],
        ["batchnorm", "not finite", "not kept", "0.3"],
    ]
    assert "100 digits" in page.text and "None: this plan leaves every layer dense." in page.text


def latency_of(dense: float, compressed: float) -> Latency:
    quartiles = [(0.9 * t, 0.95 * t, t, 1.05 * t) for t in (dense, compressed, dense)]
    return Latency(*quartiles, 1, 60, Provenance("2026-01-02T03:04Z", (), "cpu", 1, "interleaved"))


@pytest.mark.parametrize(("compressed", "verdict"), [(0.5, "Faster"), (1.0, "No difference"), (2.0, "Slower")])
def test_latency_is_shown_with_its_verdict_and_noise(compressed, verdict):
    survey, _ = surveyed()
    facts = Facts(latency=latency_of(1.0, compressed))
    page = Page(report(plan_of(survey), survey, facts, MADE, PROOF))
    rows = {row[0]: row[1:] for row in page.table("median", "upper quartile")}
    assert rows["compressed"] == [f"{compressed * f:.3f}" for f in (0.9, 0.95, 1.0, 1.05)]
    assert f"{verdict}: the median is {compressed:.2f} times the dense one" in page.text and "threads: 1" in page.text


def test_layers_that_stay_dense_say_why():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places, self.words = nn.Embedding(5, 8), nn.Embedding(9, 8)
            self.grouped = nn.Conv1d(8, 8, 3, groups=2)
            self.small = nn.Linear(4, 3)
            self.large = nn.Linear(40, 30)
            self.head = nn.Linear(8, 9)
            self.head.weight = self.words.weight

    survey = survey_model(from_module(Mixed(), "mixed"))
    page = Page(report(Plan(survey.model), survey, Facts(), MADE, PROOF))
    why = {row[0]: row[3] for row in page.table("layer", "why")[1:]}
    assert "looked up" in why["places"] and "grouped" in why["grouped"]
    assert "shares its weight" in why["words"] and why["head"] == "it shares its weight with words"
    assert why["small"].endswith("save parameters up to rank 1")  # 1 * (4 + 3) < 12 <= 2 * (4 + 3)
    assert why["large"].endswith("save parameters up to rank 17")  # 17 * 70 = 1190 < 1200
    assert "MACs are not known" in page.text
    counts = {row[0]: number(row[2]) for row in page.table("layer", "why")[1:]}
    assert counts["head"] == 0 and counts["words"] == 72


def test_masks_are_named_by_what_they_keep():
    survey, _ = surveyed("mlp:36-20-16-10")
    page = Page(report(plan_of(survey, fc1=Filters(7)), survey, Facts(), MADE, PROOF))
    row = page.table("layer", "form")[2]
    assert row[2:6] == ["whole rows or filters", "rows 7 of 20", "740", str(7 * 36 + 20)]
    assert row[6] == row[7] == "720" and not [tag for tag, _ in page.elements if tag == "svg"]


def test_low_rank_and_sparse_is_named_with_both_numbers_and_its_error_is_a_bound():
    survey, _ = surveyed("mlp:36-20-16-10")
    page = Page(report(plan_of(survey, fc1=LowRankSparse(3, 200)), survey, Facts(), MADE, PROOF))
    row = page.table("layer", "form")[2]
    assert row[2:6] == ["low-rank + 200 sparse weights", "rank 3 of 20", "740", f"{3 * 56 + 200 + 20:,}"]
    assert row[7] == f"{3 * 56 + 720:,}" and row[10].startswith("at most ")
    assert not [tag for tag, _ in page.elements if tag == "svg"]


@pytest.mark.parametrize(("k", "cut"), [(1, 1), (10, 3), (500, 499), (0, 0)])
def test_a_drawn_spectrum_falls_and_is_cut_where_it_should_be(k, cut):
    source = spectrum_drawing([2.0 * 0.99**i for i in range(k)], cut, 'rank "3"')
    page = Page(source)
    found = dict(page.elements)
    points = [tuple(map(float, pair.split(","))) for pair in found["polyline"]["points"].split()]
    assert len(points) == min(k, 60) and points == sorted(points)
    assert [y for _, y in points] == sorted(y for _, y in points)
    assert float(found["line"]["x1"]) == pytest.approx(120 * cut / max(k, 1), abs=0.1)
    left = sum(x < float(found["line"]["x1"]) for x, _ in points)
    assert k > 60 or left == cut
    assert found["svg"]["aria-label"] == 'rank "3"'


def test_a_spectrum_of_zeros_is_drawn_flat():
    page = Page(spectrum_drawing([0.0] * 5, 2, ""))
    points = next(a["points"] for tag, a in page.elements if tag == "polyline")
    assert len({pair.split(",")[1] for pair in points.split()}) == 1
