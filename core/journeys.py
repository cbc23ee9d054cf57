"""What a person does with a model, each as one function of plain arguments that gives records of plain numbers.

The command line and the app's worker process both call these, so the two cannot drift apart.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.compression.plans import Plan, check_plan
from core.compression.survey import Survey
from core.errors import DataError, InputError
from core.folders import cache_folder
from core.keys import key
from core.networks.demo_files import FOLDER
from core.provenance import Measurement

if TYPE_CHECKING:
    from torch import Tensor, nn

    from core.bundles import BundleCheck
    from core.compression.fitting import StepGain
    from core.networks.arch import Inputs
    from core.networks.checkpoints import Opened
    from core.networks.costs import Cost
    from core.training.data import Data
    from core.training.evaluate import Latency

Progress = Callable[[str, int, int], None]

CALIBRATION_SAMPLES = 1000
SURVEY_VERSION = 3
"""Raised when the numbers in a stored survey change their meaning, so that old files are made anew."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured of a plan. dense and compressed on the same examples; stages: accuracy after each repair step
    (when asked for); gains: what each step did to the calibration outputs. cost: of a plan that removes rows, counted
    on the smaller network; notes: which rows stayed masked all the same, and what else removing them meant."""

    dense: Measurement
    compressed: Measurement | None
    gains: tuple[StepGain, ...]
    stages: tuple[tuple[str, Measurement], ...]
    latency: Latency | None
    cost: Cost | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """A plan's network; what each repair step did; the network after each, by name, if asked for; and notes on rows
    that were to be removed."""

    network: nn.Module
    gains: tuple[StepGain, ...]
    stages: dict[str, nn.Module]
    notes: tuple[str, ...] = ()


def open_network(source: str, arch: str = "", user_model: str = "", inputs: Inputs | None = None) -> Opened:
    """The network behind a demo's name or a path; user_model is "file.py:function" (command line only), inputs what it
    takes."""
    from core.networks.checkpoints import open_model
    from core.networks.user_code import attach, load_user_model

    opened = open_model(source, arch or None)
    return replace(attach(opened, load_user_model(user_model)), inputs=inputs) if user_model else opened


def survey_of(opened: Opened, progress: Progress | None = None) -> Survey:
    """The survey of the weights alone, from the cache if these weights were seen before."""
    from core.compression.surveying import survey_model

    stored = _shipped(opened) or stored_survey(opened)
    if stored is not None:
        return replace(stored, model=opened.ref, notes=opened.notes, reason=opened.reason)
    made = survey_model(opened, progress)
    store_survey(opened, made)
    return made


def calibrated_survey(
    opened: Opened, data: Data, samples: int = CALIBRATION_SAMPLES, seed: int = 0, progress: Progress | None = None
) -> Survey:
    """The survey with output and damage curves from `samples` training inputs of `data`, from the cache if known."""
    from core.compression.surveying import calibrate

    stored = known_calibration(opened, data, samples, seed)
    if stored is not None:
        return stored
    what = calibration_key(data.ref.digest, samples, seed)
    x, words = calibration_inputs(opened, data, samples, seed)
    made = calibrate(survey_of(opened, progress), runnable(opened), x, words, seed, progress)
    store_survey(opened, made, what)
    return made


def known_calibration(opened: Opened, data: Data, samples: int, seed: int) -> Survey | None:
    """The calibrated survey if it was made before, or lies beside the demo; None otherwise."""
    found = stored_survey(opened, calibration_key(data.ref.digest, samples, seed))
    if found is None and (data.ref.source, samples, seed) == ("digits", CALIBRATION_SAMPLES, 0):
        found = _shipped(opened)
    return replace(found, model=opened.ref, notes=opened.notes, reason=opened.reason) if found else None


def calibration_key(data_digest: str, samples: int, seed: int) -> str:
    """Names a calibration batch in the cache."""
    return key({"data": data_digest, "samples": samples, "seed": seed})


def calibration_inputs(opened: Opened, data: Data, samples: int, seed: int) -> tuple[Tensor, str]:
    """Normalised training inputs and what they are, in words."""
    x, _ = data.split("train", samples, seed)
    return prepared(opened, data, x), f"{len(x):,} training inputs of {data.ref.name}, no labels, seed {seed}"


def test_examples(opened: Opened, data: Data, limit: int | None, seed: int) -> tuple[Tensor, Tensor, str]:
    """Normalised test inputs (all, or a seeded sample of `limit`), their labels, and what they are, in words."""
    x, y = data.split("test", limit, seed)
    return prepared(opened, data, x), y, f"{len(x):,} test examples of {data.ref.name}"


def prepared(opened: Opened, data: Data, x: Tensor) -> Tensor:
    """Images x (N, C, H, W) in [0, 1] of `data` as the network takes them. DataError if they do not fit it; InputError
    if nobody said what it takes."""
    from core.training.data import check_fits
    from core.training.evaluate import normalized

    takes = opened.takes
    if takes is None:
        raise InputError(
            f"What {opened.ref.name} takes is unknown; name its network with --arch, or say --input 3x32x32."
        )
    if opened.arch is not None:
        check_fits(data, opened.arch)
    elif data.input_shape != takes.input_shape:
        raise DataError(
            f"The images of {data.ref.name} have shape {data.input_shape}, --input says {takes.input_shape}; change "
            "one of them."
        )
    return normalized(x, takes)


def runnable(opened: Opened) -> nn.Module:
    """The network's module. InputError with the reason if it has none, or cannot take what it is said to take."""
    from core.compression.surveying import layers_of

    if opened.module is None:
        raise InputError(
            f"{opened.ref.name} cannot be run: {opened.reason}; open another, or use what its weights alone tell."
        )
    if opened.arch is None and opened.takes is not None:
        layers_of(opened)
    return opened.module


def scored(opened: Opened) -> nn.Module:
    """The module of a network that tells classes apart. InputError, one sentence, for one that does not."""
    if opened.arch is not None and opened.arch.num_classes == 0:
        raise InputError(
            f"{opened.ref.name} tells no classes apart, so it has no accuracy; compare its outputs instead."
        )
    return runnable(opened)


def compressed_network(
    opened: Opened,
    plan: Plan,
    survey: Survey,
    data: Data | None,
    progress: Progress | None = None,
    stages: bool = False,
) -> Compressed:
    """The plan applied with the repair it names, calibrated on the training split of `data` (needed for any), and
    without the rows it removes. Fits are made on masks, BatchNorm and biases repaired on the smaller network."""
    from core.compression.apply import apply
    from core.compression.fitting import repair
    from core.compression.removal import planned

    check_plan(plan, opened.ref, survey.views)
    model = runnable(opened)
    if plan.repair.steps and data is None:
        raise DataError("This plan names a repair, which needs data to calibrate on; give the data with --data.")
    removal = planned(plan, model, survey.views, sample_of(opened, survey)) if plan.remove else None
    if plan.repair.steps and data is not None:
        x, _ = calibration_inputs(opened, data, plan.repair.samples, plan.repair.seed)
        found = repair(plan, model, x, survey.views, progress, stages, removal)
    else:
        made = apply(removal.plan if removal else plan, model, survey.views)
        made = removal.taken(made, sample_of(opened, survey)) if removal else made
        found = made, (), {"plain": made}
    return Compressed(*found, removal.notes if removal else ())


def sample_of(opened: Opened, survey: Survey) -> Tensor:
    """One input of zeros. InputError if nobody said what the network takes."""
    import torch

    if not survey.input_shape:
        raise InputError(f"What {opened.ref.name} takes is unknown; say --input 3x32x32.")
    return torch.zeros(1, *survey.input_shape)


def evaluate(
    opened: Opened,
    data: Data,
    plan: Plan | None = None,
    limit: int | None = None,
    seed: int = 0,
    stages: bool = False,
    timed: bool = False,
    progress: Progress | None = None,
    dense: Measurement | None = None,
) -> Evaluation:
    """Accuracy on the test split of `data` (all of it, or a seeded sample of `limit`), dense and under the plan.

    dense  that of the dense network where it was measured on the same examples before."""
    from core.compression.counting import counted
    from core.training.evaluate import accuracy, latency

    model = scored(opened)
    x, y, words = test_examples(opened, data, limit, seed)
    dense = dense or accuracy(model, x, y, seed, words, progress)
    if plan is None:
        return Evaluation(dense, None, (), (), None)
    made = compressed_network(opened, plan, survey_of(opened, progress), data, progress, stages)
    steps = made.stages.items() if stages else ()
    after = tuple((n, accuracy(m, x, y, seed, f"{words}, after {n}", progress)) for n, m in steps)
    measured = accuracy(made.network, x, y, seed, words, progress)
    times = latency(model, made.network, x[:1], progress=progress) if timed else None
    cost = counted(made.network, plan, x[:1]).cost if plan.remove else None
    return Evaluation(dense, measured, made.gains, after, times, cost, made.notes)


def export(
    opened: Opened,
    plan: Plan,
    data: Data | None,
    folder: Path,
    limit: int | None = None,
    progress: Progress | None = None,
) -> BundleCheck:
    """Applies the plan with its repair, measures accuracy and latency on the test split of `data` (if given), and
    writes the bundle, a zip if `folder` ends in .zip; it counts only if it reads back to equal outputs."""
    import torch

    from core.export import Facts, refuse_foreign, write_bundle
    from core.training.evaluate import accuracy, latency
    from core.zip_export import SUFFIX, refuse_foreign_zip, write_zip

    is_zip = folder.suffix.lower() == SUFFIX
    write = write_zip if is_zip else write_bundle
    (refuse_foreign_zip if is_zip else refuse_foreign)(folder.expanduser())  # before anything is measured
    survey = survey_of(opened, progress)
    if data is not None:
        survey = known_calibration(opened, data, plan.repair.samples, plan.repair.seed) or survey
    model = runnable(opened)
    made = compressed_network(opened, plan, survey, data, progress)
    new = made.network
    if data is None and not survey.input_shape:
        raise InputError(
            f"What {opened.ref.name} takes is unknown, so its outputs cannot be checked; say --input 3x32x32."
        )
    if data is None:
        example = torch.rand(8, *survey.input_shape, generator=torch.Generator().manual_seed(0))
        return write(folder, opened, plan, new, survey, example, Facts(gains=made.gains, removed=made.notes))
    scored(opened)
    x, y, words = test_examples(opened, data, limit, 0)
    facts = Facts(
        dense=accuracy(model, x, y, 0, words, progress),
        compressed=accuracy(new, x, y, 0, words, progress),
        gains=made.gains,
        removed=made.notes,
        latency=latency(model, new, x[:1], progress=progress),
        calibration=f"{plan.repair.samples:,} training inputs of {data.ref.name}, no labels, seed {plan.repair.seed}",
    )
    return write(folder, opened, plan, new, survey, x[:8], facts)


def as_dict(found: Evaluation) -> dict[str, Any]:
    """An evaluation as plain values, with what follows from the latencies."""
    return {**asdict(found), "latency": found.latency.plain() if found.latency is not None else None}


def stored_survey(opened: Opened, calibration: str = "") -> Survey | None:
    """The survey of this network and calibration from the cache; None if there is none or it cannot be read."""
    try:
        return Survey.from_json(_cached(opened, calibration).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _shipped(opened: Opened) -> Survey | None:
    """The survey that lies beside a demo, if it is of these weights in this network."""
    if opened.ref.source != "demo":
        return None
    try:
        found = demo_survey(opened.ref.name)
    except InputError:
        return None
    label = opened.arch.label if opened.arch else ""
    return found if (found.model.digest, found.arch) == (opened.ref.digest, label) else None


def store_survey(opened: Opened, survey: Survey, calibration: str = "") -> None:
    """Keeps a survey in the cache; a folder that cannot be written only means it is made again."""
    path = _cached(opened, calibration)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(survey.to_json())
        Path(file.name).replace(path)
    except OSError:
        return


def demo_survey(name: str) -> Survey:
    """The survey stored with a demo, read without torch. InputError if there is none."""
    path = FOLDER / f"{name}.survey.json"
    try:
        return Survey.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"The demo {name!r} has no stored survey; make it with train-demo {name}.") from None


def store_demo_survey(name: str, progress: Progress | None = None) -> Path:
    """Surveys and calibrates a demo on digits, measures it, and stores that beside its weights."""
    from core.training.data import open_data

    path = FOLDER / f"{name}.survey.json"
    path.unlink(missing_ok=True)
    opened, data = open_network(name), open_data("digits")
    measured = evaluate(opened, data).dense
    survey = replace(calibrated_survey(opened, data, progress=progress), accuracy=measured)
    path.write_text(survey.to_json() + "\n", encoding="utf-8")
    return path


def summary(survey: Survey) -> dict[str, object]:
    """The ledger as plain values: every layer with its shape, cost, obstacle and diagnostics."""
    from core.networks.forms import Dense

    return {
        "model": asdict(survey.model),
        "arch": survey.arch,
        "reason": survey.reason,
        "notes": list(survey.notes),
        "calibration": survey.calibration,
        "dense": asdict(survey.dense),
        "rest": asdict(survey.rest),
        "rest_lines": list(survey.rest_lines),
        "layers": [
            {
                "layer": layer.view.name,
                "kind": layer.view.kind,
                "shape": layer.view.shape_text,
                "m": layer.view.m,
                "n": layer.view.n,
                "cost": asdict(Dense().cost(layer.view)),
                "compressible": not layer.obstacle,
                "obstacle": layer.obstacle,
                "singular_values": list(layer.spectrum.S) if layer.spectrum else [],
                "whitened": list(layer.whitened.S) if layer.whitened else [],
                "diagnostics": asdict(layer.diagnostics) if layer.diagnostics else None,
            }
            for layer in survey.layers
        ],
    }


def _cached(opened: Opened, calibration: str) -> Path:
    """Where the survey is kept. The same weights in another network (--arch, --model, --input) have another survey."""
    from core.compression.surveying import layers_of

    content = {
        "digest": opened.ref.digest,
        "network": key(opened.arch or list(layers_of(opened) if opened.module is not None else ())),
        "calibration": calibration,
        "version": SURVEY_VERSION,
    }
    return cache_folder() / "surveys" / f"{key(content)}.json"
