"""The arrows between parts, read from the source: what may import what, and who alone may touch what."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "core").rglob("*.py"))
APP = sorted((ROOT / "app").rglob("*.py"))
SOURCE = [*CORE, *APP, ROOT / "streamlit_app.py"]

HEIGHT = {
    "core.errors": 0,
    "core.keys": 0,
    "core.folders": 0,
    "core.provenance": 0,
    "core.console": 1,
    "core.numerics": 1,
    "core.networks": 2,
    "core.compression": 3,
    "core.training": 4,
    "core.bundle_loader": 1,
    "core.bundles": 5,
    "core.report": 5,
    "core.report_page": 5,
    "core.export": 5,
    "core.zip_export": 5,
    "core.catalogue": 6,
    "core.journeys": 7,
    "core.layer_functions": 7,
    "core.layer_measures": 7,
    "core.recovery": 7,
    "core.jobs": 7,
    "core.serve": 8,
    "core.cli_runs": 9,
    "core.cli": 9,
    "core.__main__": 10,
}
"""A part of core imports parts of at most its own height; heights as architecture draws the arrows."""

LONGEST, LONGEST_TEST = 400, 600
"""Lines of a source file at which it wants splitting, and of a test file."""


def name_of(path: Path) -> str:
    """Dotted name: core/numerics/svd.py is core.numerics.svd, a package's __init__ is the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path, at_import: bool = False) -> Iterator[tuple[str, int]]:
    """(module imported, line) of a file; at_import leaves out what only type checkers or functions import."""
    todo: list[ast.AST] = [tree_of(path)]
    while todo:
        node = todo.pop()
        if at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_import and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import at line {node.lineno}"
            whole = f"{node.module}"
            parts = {f"{whole}.{alias.name}" for alias in node.names}
            modules = {part for part in parts if (ROOT / part.replace(".", "/")).with_suffix(".py").is_file()}
            yield from ((part, node.lineno) for part in sorted(modules))
            if modules != parts:  # else `from core.networks import modules` is an import of that module alone
                yield whole, node.lineno
        todo += ast.iter_child_nodes(node)


def starts(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def offenders(paths: list[Path], *packages: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in paths
        for module, line in imports(path)
        if starts(module, *packages)
    ]


def part_of(module: str) -> str:
    """The part of core that a module belongs to: core.numerics.svd is of core.numerics."""
    return ".".join(module.split(".")[:2])


def mentions(paths: list[Path], pattern: str) -> list[str]:
    """Attribute accesses that match, as path:line."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in paths
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and re.fullmatch(pattern, node.attr)
    ]


def test_core_knows_no_page() -> None:
    assert offenders(CORE, "app", "streamlit", "plotly") == []


def test_every_part_of_core_has_a_height() -> None:
    assert {part_of(name_of(path)) for path in CORE} - {"core"} == set(HEIGHT)


@pytest.mark.parametrize("part", HEIGHT)
def test_arrows_within_core_run_downwards(part: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in CORE
        if part_of(name_of(path)) == part
        for module, line in imports(path)
        if module.startswith("core.") and HEIGHT[part_of(module)] > HEIGHT[part]
    ]
    assert wrong == []


def test_only_entry_points_depend_on_the_catalogue() -> None:
    users = {name_of(path) for path in CORE for module, _ in imports(path) if module == "core.catalogue"}
    assert users <= {"core.cli", "core.serve", "core.journeys"}


def test_numbers_know_no_layers() -> None:
    numerics = [path for path in CORE if starts(name_of(path), "core.numerics")]
    assert numerics
    assert offenders(numerics, "torch.nn") == []
    assert [hit for path in numerics for hit in mentions([path], "nn")] == []


def test_core_has_no_import_cycle() -> None:
    graph = {name_of(path): {m for m, _ in imports(path, at_import=True) if m.startswith("core.")} for path in CORE}
    assert len(graph) > 30 and graph["core.cli"]
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in done:
            return
        for target in sorted(graph.get(module, ())):
            visit(target, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_core_prints_nothing_but_on_the_command_line() -> None:
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in CORE
        if path.name != "console.py"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert calls == []


def test_the_app_never_imports_torch() -> None:
    assert offenders([*APP, ROOT / "streamlit_app.py"], "torch", "torchvision", "safetensors") == []


def test_figures_are_pure() -> None:
    figures = [path for path in APP if starts(name_of(path), "app.figures")]
    assert figures
    assert offenders(figures, "streamlit", "torch", "app.state", "app.services", "app.pages", "app.widgets") == []


def test_pages_draw_nothing_themselves_and_nobody_imports_them() -> None:
    pages = [path for path in APP if starts(name_of(path), "app.pages")]
    assert pages
    assert offenders(pages, "plotly", "numpy") == []
    assert offenders(SOURCE, "app.pages") == []


def test_only_services_caches() -> None:
    hits = mentions(SOURCE, "cache_data|cache_resource|experimental_memo|cache")
    assert [hit for hit in hits if not hit.startswith("app/services.py")] == []
    assert hits


def test_only_state_and_components_touch_the_session_and_the_address() -> None:
    hits = mentions(SOURCE, "session_state|query_params")
    assert [hit for hit in hits if not hit.startswith(("app/state.py", "app/components/"))] == []
    assert hits


def test_the_app_uses_no_private_names_of_core() -> None:
    wrong = []
    for path in APP:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and starts(node.module or "", "core"):
                wrong += [f"{path}:{node.lineno}" for alias in node.names if alias.name.startswith("_")]
    assert wrong == []


def test_files_are_unpickled_in_one_place_and_only_weights() -> None:
    calls = [
        (path.relative_to(ROOT).as_posix(), node)
        for path in SOURCE
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads")
    ]
    assert {path for path, _ in calls} == {"core/networks/pickles.py"}
    for path, call in calls:
        line = (ROOT / path).read_text(encoding="utf-8").splitlines()[call.lineno - 1]
        assert "weights_only=True" in line, f"{path}:{call.lineno}"


def test_the_users_own_code_is_out_of_the_apps_reach() -> None:
    assert offenders(APP, "core.networks.user_code") == []
    assert not any("user_model" in path.read_text(encoding="utf-8") for path in APP)


@pytest.mark.parametrize(
    ("folder", "longest"), [("core", LONGEST), ("app", LONGEST), ("benchmarks", LONGEST), ("tests", LONGEST_TEST)]
)
def test_no_file_wants_splitting(folder: str, longest: int) -> None:
    files = [path for ending in ("py", "js", "css") for path in (ROOT / folder).rglob(f"*.{ending}")]
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: lines for path, lines in lengths.items() if lines > longest} == {}


@pytest.mark.parametrize("name", ["types", "utils", "util", "helpers", "common", "misc"])
def test_no_module_is_a_drawer(name: str) -> None:
    assert [path for path in SOURCE if path.stem == name] == []


def test_these_checks_see_what_they_look_for(tmp_path: Path) -> None:
    """The reader of imports itself: nested, aliased, type-only and function-local ones."""
    text = (
        "from __future__ import annotations\nimport torch.nn as nn\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import plotly\n"
        "def f():\n    from streamlit import cache_data\n"
    )
    path = tmp_path / "sample.py"
    path.write_text(text)
    everything = {module for module, _ in imports(path)}
    assert {"torch.nn", "plotly", "streamlit"} <= everything
    assert {module for module, _ in imports(path, at_import=True)} == {"__future__", "torch.nn", "typing"}
    assert starts("torch.nn", "torch") and not starts("torchvision", "torch")
