"""The command line. JSON (with --json) or a table on standard output, progress on standard error, exit code 2 and one
sentence on bad input."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from core import cli_runs, journeys
from core.compression.allocate import METHODS, Budget, Rules, allocate
from core.compression.coupling import missing
from core.compression.plans import STEPS, Plan, Repair, plan_cost
from core.compression.survey import Survey
from core.console import ArchOption, JsonOption, Model, err, one_of, out, print_json, progress_bar, write_text
from core.errors import InputError, RankscopeError
from core.networks.arch import IMAGENET_MEAN, IMAGENET_STD, Inputs
from core.networks.costs import QUANTITIES, Cost

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Rankscope without a browser.")
cli_runs.register(app)
CodeOption = Annotated[str, typer.Option("--model", help="your own network, file.py:function; this runs that file")]
InputOption = Annotated[
    str,
    typer.Option("--input", help="what your own network takes: 3x32x32, or 3x32x32/imagenet to normalise as ImageNet"),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="of the draw of examples")]
DataOption = Annotated[str, typer.Option("--data", help="digits, or a path to data")]


@app.command()
def spectra(
    model: Model,
    arch: ArchOption = "",
    code: CodeOption = "",
    takes: InputOption = "",
    as_json: JsonOption = False,
) -> None:
    """Every layer: shape, cost, spectrum, diagnostics, and whether it can be compressed."""
    opened = journeys.open_network(model, arch, code, _inputs(takes))
    with progress_bar() as progress:
        survey = journeys.survey_of(opened, progress)
    if as_json:
        return print_json(journeys.summary(survey))
    table = Table("layer", "kind", "shape", "params", "MACs", "stable rank", "entropy rank", "alpha", "compressible")
    for layer in survey.layers:
        view, d = layer.view, layer.diagnostics
        alpha = f"{d.alpha:.2f}" if d and d.alpha else "-"
        numbers = (f"{d.stable_rank:.1f}", f"{d.entropy_rank:.1f}") if d else ("-", "-")
        macs = f"{view.size * view.positions:,}" if view.positions else "unknown"
        sizes = (view.name, view.kind, view.shape_text, f"{view.size:,}", macs)
        table.add_row(*sizes, *numbers, alpha, layer.obstacle or "yes")
    out.print(table)
    for line in (*survey.notes, *survey.rest_lines, survey.reason):
        if line:
            out.print(line)


@app.command()
def rules(
    model: Model,
    layer: Annotated[str, typer.Option("--layer", help="name of a layer")],
    arch: ArchOption = "",
    code: CodeOption = "",
    takes: InputOption = "",
    as_json: JsonOption = False,
) -> None:
    """What every rank rule says of one layer."""
    from core.catalogue import rank_marks

    opened = journeys.open_network(model, arch, code, _inputs(takes))
    survey = journeys.survey_of(opened)
    names = [entry.view.name for entry in survey.layers]
    if layer not in names:
        raise InputError(f"{opened.ref.name} has no layer {layer!r}; it has {', '.join(names[:6])} and so on.")
    found = survey.layer(layer).spectrum
    if found is None:
        raise InputError(f"Layer {layer!r} has no rank to speak of: {survey.layer(layer).obstacle}; choose another.")
    marks = rank_marks(found)
    if as_json:
        return print_json({"layer": layer, "m": found.m, "n": found.n, "rules": [asdict(mark) for mark in marks]})
    table = Table("rule", "rank", f"of {found.k}", "source")
    for mark in marks:
        table.add_row(mark.label, str(mark.rank), f"{mark.rank / found.k:.0%}", mark.source)
    out.print(table)


@app.command()
def plan(
    model: Model,
    keep: Annotated[float, typer.Option(help="fraction of the dense cost to keep, above 0 and at most 1")],
    quantity: Annotated[str, typer.Option(help=" or ".join(QUANTITIES))] = "macs",
    data: DataOption = "",
    method: Annotated[str, typer.Option(help=" or ".join(METHODS))] = "exact",
    multiple: Annotated[int, typer.Option(min=1, help="ranks are multiples of this")] = 1,
    families: Annotated[str, typer.Option(help="comma-separated families of forms that may be used")] = "",
    remove: Annotated[
        bool, typer.Option("--remove-rows", help="take rows that `filters` masks out for real; needs torch-pruning")
    ] = False,
    steps: Annotated[str, typer.Option("--repair", help=f"steps of {', '.join(STEPS)}, or none")] = ",".join(STEPS),
    samples: Annotated[int, typer.Option(min=1, help="training inputs to calibrate on, no labels")] = 1000,
    seed: SeedOption = 0,
    out_file: Annotated[Path | None, typer.Option("--out", help="where to write the plan as JSON")] = None,
    arch: ArchOption = "",
    code: CodeOption = "",
    takes: InputOption = "",
    as_json: JsonOption = False,
) -> None:
    """Choose forms and ranks under a budget. With --data, by output errors and damage measured on training inputs."""
    from core.networks.forms import FAMILIES, form_words

    opened = journeys.open_network(model, arch, code, _inputs(takes))
    if not 0.0 < keep <= 1.0:
        raise InputError(f"--keep takes a fraction above 0 and at most 1, not {keep}.")
    one_of("--quantity", quantity, QUANTITIES)
    one_of("--method", method, METHODS)
    chosen = tuple(filter(None, families.split(","))) or Rules().families
    for family in chosen:
        one_of("--families", family, tuple(FAMILIES))
    if remove and "filters" not in chosen:
        raise InputError("--remove-rows removes what the family filters masks; add filters to --families.")
    if remove and missing():
        raise InputError(f"{missing()}.")
    wanted = () if steps in ("", "none") else tuple(steps.split(","))
    for step in wanted:
        one_of("--repair", step, STEPS)
    with progress_bar() as progress:
        if data:
            from core.training.data import open_data

            survey = journeys.calibrated_survey(opened, open_data(data), samples, seed, progress)
        else:
            survey = journeys.survey_of(opened, progress)
    if quantity == "macs" and not survey.dense.macs:
        raise InputError(f"{opened.ref.name} cannot be run, so its MACs are unknown; choose another --quantity.")
    repair = Repair(tuple(s for s in STEPS if s in wanted) if survey.runnable else (), samples, seed)
    budget = Budget.keep(survey, keep, quantity)
    made = allocate(survey, budget, method, Rules(multiple=multiple, families=chosen), repair)
    made = replace(made, plan=replace(made.plan, remove=remove))
    if made.outcome == "BELOW_FLOOR":
        raise InputError(made.remedy)
    if out_file is not None:
        write_text(out_file, made.plan.to_json() + "\n")
    kept = _kept(made.cost, survey)
    content = {
        "outcome": made.outcome,
        "remedy": made.remedy,
        "objective": made.objective,
        "predicted": made.error,
        "cost": asdict(made.cost),
        "dense": asdict(survey.dense),
        "kept": kept,
        "plan": json.loads(made.plan.to_json()),
    }
    if as_json:
        return print_json(content)
    table = Table("layer", "form")
    for entry in made.plan.layers:
        table.add_row(entry.layer, form_words(entry.form, survey.layer(entry.layer).view))
    out.print(table)
    out.print(f"{made.outcome} {made.remedy}".strip(), "kept: " + ", ".join(f"{v:.1%} of {q}" for q, v in kept.items()))
    out.print(f"predicted: {made.error:.4g} ({made.objective})")


@app.command()
def evaluate(
    model: Model,
    data: Annotated[str, typer.Option("--data", help="digits, or a path to data")],
    plan_file: Annotated[Path | None, typer.Option("--plan", help="a plan made by `plan` or the app")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="test examples to use; all by default")] = None,
    seed: SeedOption = 0,
    stages: Annotated[bool, typer.Option("--stages", help="also measure after every repair step")] = False,
    timed: Annotated[bool, typer.Option("--latency", help="also time it against the dense network")] = False,
    arch: ArchOption = "",
    code: CodeOption = "",
    takes: InputOption = "",
    as_json: JsonOption = False,
) -> None:
    """Measure accuracy on the test split, dense and under a plan with the repair it names."""
    from core.training.data import open_data

    opened = journeys.open_network(model, arch, code, _inputs(takes))
    plan_made = _read_plan(plan_file) if plan_file else None
    with progress_bar() as progress:
        found = journeys.evaluate(opened, open_data(data), plan_made, limit, seed, stages, timed, progress)
    content = journeys.as_dict(found)
    if plan_made is not None:
        survey = journeys.survey_of(opened)
        content["kept"] = _kept(found.cost or plan_cost(plan_made, survey.views, survey.rest), survey)
    if as_json:
        return print_json(content)
    table = Table("measured", "accuracy", "± (binomial)", "n", "seed")
    rows = [("dense", found.dense), *((f"after {n}", m) for n, m in found.stages)]
    rows += [("plan", found.compressed)] if found.compressed else []
    for name, m in rows:
        table.add_row(name, f"{m.value:.2%}", f"{m.spread:.2%}", f"{m.n:,}", str(m.seed))
    out.print(table)
    for gain in found.gains:
        verdict = "kept" if gain.kept else "not kept"
        out.print(f"{gain.step}: distance to the dense outputs {gain.distance:.4f}, {verdict}")
    if found.cost is not None:
        kept = ", ".join(f"{v:.1%} of {q}" for q, v in content["kept"].items())
        out.print(f"kept, counted on the smaller network: {kept}", soft_wrap=True)
    for note in found.notes:
        out.print(note, soft_wrap=True)
    if found.latency is not None:
        times = found.latency
        out.print(f"latency: {times.ratio:.2f} of dense, {times.verdict} (A/A spread {times.noise:.1%})")


@app.command()
def export(
    model: Model,
    plan_file: Annotated[Path, typer.Option("--plan", help="a plan made by `plan` or the app")],
    folder: Annotated[Path, typer.Option("--out", help="the folder to make, or the zip if its name ends in .zip")],
    data: DataOption = "",
    limit: Annotated[int | None, typer.Option(min=1, help="test examples for the report; all by default")] = None,
    arch: ArchOption = "",
    code: CodeOption = "",
    takes: InputOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write weights, plan, report and loader, read them back and check that the outputs are equal."""
    from core.training.data import open_data

    opened = journeys.open_network(model, arch, code, _inputs(takes))
    with progress_bar() as progress:
        check = journeys.export(
            opened, _read_plan(plan_file), open_data(data) if data else None, folder, limit, progress
        )
    if as_json:
        return print_json(asdict(check))
    out.print(f"{folder.name}: read back, largest difference {check.max_difference:.3g}")


@app.command("train-demo")
def train_demo(
    name: Annotated[str, typer.Argument(help="a demo's name, or all")],
    folder: Annotated[Path | None, typer.Option("--out", help="where to write; the project's data by default")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train an embedded demo from its recipe and seed, and store its weights, facts and survey."""
    from core.networks.demo_files import FOLDER
    from core.training.demos import RECIPES
    from core.training.demos import train_demo as train

    one_of("NAME", name, (*RECIPES, "all"))
    made = []
    for one in RECIPES if name == "all" else (name,):
        with progress_bar() as progress:
            made.append(train(one, folder or FOLDER, progress))
            if folder is None or folder.resolve() == FOLDER:
                journeys.store_demo_survey(one, progress)
    if as_json:
        return print_json([asdict(info) for info in made])
    for info in made:
        out.print(f"{info.name}: {info.accuracy:.1%} of {info.n} test images, {info.nbytes:,} bytes")


@app.command()
def serve() -> None:
    """Answer JSON requests on standard input: the app's worker process."""
    from core import serve as server

    server.main()


def main() -> None:
    """Runs the command; one sentence and exit code 2 for what a user can cause, 130 when interrupted."""
    try:
        sys.exit(app(standalone_mode=False))
    except RankscopeError as error:
        sentence = str(error)
    except Exception as error:
        if not hasattr(error, "format_message"):  # only the option parser's own errors have it
            raise
        sentence = " ".join(str(error.format_message()).split()).rstrip(".?").replace(". Did you", ", did you")
        if not sentence:  # help was printed, because nothing was asked for
            sys.exit(2)
        sentence += "; see --help."
    except KeyboardInterrupt:
        sys.exit(130)
    err.print(sentence, soft_wrap=True)
    sys.exit(2)


def _kept(cost: Cost, survey: Survey) -> dict[str, float]:
    """The share of each quantity that is left, without those of which nothing is known: weights alone have no MACs."""
    dense = {quantity: survey.dense.of(quantity) for quantity in QUANTITIES}
    return {quantity: cost.of(quantity) / whole for quantity, whole in dense.items() if whole}


def _read_plan(path: Path) -> Plan:
    try:
        return Plan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path.name} cannot be read as a plan; make one with the plan command.") from None


def _inputs(text: str) -> Inputs | None:
    """The record behind --input, None for ""."""
    if not text:
        return None
    sides, _, norm = text.partition("/")
    shape = tuple(int(side) if side.isdecimal() else 0 for side in sides.split("x"))
    if min(shape) < 1 or norm not in ("", "imagenet") or (norm and shape[0] != len(IMAGENET_MEAN)):
        raise InputError(f"--input takes sizes such as 3x32x32 or 3x32x32/imagenet, not {text!r}.")
    zero, one = (0.0,) * shape[0], (1.0,) * shape[0]
    return Inputs(shape, IMAGENET_MEAN, IMAGENET_STD) if norm else Inputs(shape, zero, one)
