""" "Copy as code": the lines run on their own and give the totals the app shows."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from app import snippets
from app.worker import ROOT
from core.compression.plans import LayerPlan, Plan, Repair, plan_cost
from core.compression.survey import Survey
from core.networks.forms import FAMILIES, Form, LowRank, Sparse

DEMO = "digits-resnet"


def every_family(survey: Survey) -> Plan:
    """Another family on each layer, as long as there are some."""
    forms: dict[str, Form] = {}
    for layer, family in zip([x for x in survey.layers if not x.obstacle], FAMILIES.values(), strict=False):
        if layer.curve(family.id):
            forms[layer.view.name] = family.make(2, layer.view)
    return Plan(survey.model, tuple(LayerPlan(n, f) for n, f in forms.items()), Repair(("bias",), 50, 3))


def run(code: str, where: Path) -> str:
    """What the code prints in a fresh interpreter that has nothing but the project on its path."""
    made = subprocess.run(
        [sys.executable, "-c", code],
        cwd=where,
        env={"PYTHONPATH": str(ROOT), "RANKSCOPE_CACHE": str(where / "cache"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-1000:]
    return made.stdout


def test_the_code_of_a_demo_runs_on_its_own_and_prints_the_totals(survey: Survey, tmp_path: Path) -> None:
    plan = every_family(survey)
    assert len(plan.layers) >= 3
    code = snippets.code(DEMO, "", plan)
    cost = plan_cost(plan, survey.views, survey.rest)
    printed = f"{cost.params:,} parameters, {cost.macs:,} MACs per sample, {cost.bytes:,} bytes\n"
    assert run(code + f"assert plan == Plan.from_json({plan.to_json()!r})\n", tmp_path) == printed


def test_the_code_of_a_file_finds_it_beside_the_script_and_builds_the_chosen_network(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from core.networks.zoo import build, parse_arch

    arch = "mlp:6-5-4"
    torch.save(build(parse_arch(arch)).state_dict(), tmp_path / "digits-mlp")
    from core.journeys import open_network

    ref = open_network(f"{tmp_path}/digits-mlp", arch).ref
    layer = next(iter(open_network(f"{tmp_path}/digits-mlp", arch).state)).removesuffix(".weight")
    code = snippets.code("upload:0123456789abcdef/digits-mlp", arch, Plan(ref).with_form(layer, LowRank(2)))
    assert snippets.PLACE in code and "0123456789abcdef" not in code
    assert run(code, tmp_path).startswith(f"{2 * (6 + 5) + 5 + 5 * 4 + 4:,} parameters")


@pytest.mark.parametrize("num_layers", [0, 1, 8])
def test_the_code_has_four_to_ten_lines(survey: Survey, num_layers: int) -> None:
    layers = tuple(LayerPlan(layer.view.name, LowRank(1)) for layer in survey.layers[:num_layers])
    code = snippets.code(DEMO, "resnet20", Plan(survey.model, layers))
    assert 4 <= len(code.splitlines()) <= 10
    compile(code, "snippet", "exec")


@pytest.mark.parametrize("name", ["'); import os #", '"""', "a\nimport os", "\u2028b", "{x}", "\\", "<script>"])
def test_a_hostile_name_stays_a_string(survey: Survey, name: str) -> None:
    code = snippets.code(f"folder:{name}", "", Plan(survey.model, (LayerPlan(name, Sparse(3)),)))
    tree = ast.parse(code)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {node.module for node in imports if isinstance(node, ast.ImportFrom)} == {
        "core.compression.plans",
        "core.journeys",
        "core.networks.forms",
    }
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert name in strings and f"./{name}" in strings and len(imports) == 3
