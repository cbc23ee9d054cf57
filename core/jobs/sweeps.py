"""A sweep: every allocator, family of forms, budget, repair and seed asked for, each plan measured once.

`sweep_run` names the run, `prepare` allocates its plans and adds their points, `tradeoff_points` reads them back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from core.compression.allocate import FACTORED, METHODS, Budget, Rules, allocate
from core.compression.plans import STEPS, Plan, Repair
from core.compression.sensitivity import informed
from core.compression.survey import Survey
from core.compression.tradeoff import TradeoffPoint
from core.errors import InputError
from core.jobs.records import Point, Run
from core.keys import key
from core.networks.costs import QUANTITIES, QUANTITY_WORDS, Cost
from core.networks.forms import FAMILIES
from core.provenance import Measurement, measurement_of

if TYPE_CHECKING:
    from core.compression.sensitivity import LayerSensitivity
    from core.jobs.store import Store

Json = dict[str, Any]
Progress = Callable[[str, int, int], None]

KIND = "sweep"

FAMILY_SETS: dict[str, tuple[str, ...]] = {
    "factored": FACTORED,
    "lowrank": ("lowrank", "lowrank_in"),
    "spatial": ("spatial",),
    "masks": ("sparse",),
    "2:4": ("sparse24",),
    "rows": ("filters",),
    "rows removed": ("filters",),
    "random": ("random",),
}
"""Sets of forms a sweep can try, by the name that points carry."""

REMOVED = "rows removed"
"""The set whose plans take the rows out for real; its points have the cost that was counted once they are measured."""

REPAIRS: dict[str, tuple[str, ...]] = {"none": (), "whitened": ("whitened",), "full": STEPS}
"""Repairs a sweep can try."""

KEEPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
MOST = 1000
"""Points of one sweep at most (chosen: an evening of a small machine)."""


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """What to try. model, arch, data  sources as `core.journeys` opens them; name and digest of the model's weights.

    quantity  a budget is in. keeps  fractions of it in (0, 1]. methods  of `METHODS`. families  of `FAMILY_SETS`.
    repairs   of `REPAIRS`. seeds  each draws other calibration and, under a limit, test examples.
    limit     test examples, None for all. samples  calibration examples. timed  measures latency too.
    pins      layer -> JSON of its form as a plan holds it. floors  layer -> least share of its cost.
    sensitivity  id of a run that measured the layers' damages, "" to allocate by the calibrated curves.
    """

    model: str
    name: str
    digest: str
    data: str
    arch: str = ""
    quantity: str = "macs"
    keeps: tuple[float, ...] = KEEPS
    methods: tuple[str, ...] = ("greedy",)
    families: tuple[str, ...] = ("factored",)
    repairs: tuple[str, ...] = ("full",)
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None
    samples: int = 1000
    timed: bool = False
    pins: Json = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)
    sensitivity: str = ""

    @property
    def most(self) -> int:
        """Points it can have."""
        sides = (self.keeps, self.methods, self.families, self.repairs, self.seeds)
        made = 1
        for side in sides:
            made *= len(side)
        return made


def checked(spec: SweepSpec) -> SweepSpec:
    """The specification. InputError, one sentence, for one that cannot be run."""
    if not all((spec.keeps, spec.methods, spec.families, spec.repairs, spec.seeds)):
        raise InputError(
            "A sweep needs a budget, a method, a family of forms, a repair and a seed; choose one of each."
        )
    bad = [keep for keep in spec.keeps if not 0.0 < keep <= 1.0]
    if bad:
        raise InputError(f"A budget keeps a fraction in (0, 1] of the network, not {bad[0]}; change it.")
    for names, known, what in (
        (spec.methods, METHODS, "method"),
        (spec.families, FAMILY_SETS, "family"),
        (spec.repairs, REPAIRS, "repair"),
        ((spec.quantity,), QUANTITIES, "quantity"),
    ):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InputError(f"There is no {what} {unknown[0]!r}; choose from {', '.join(known)}.")
    if spec.most > MOST:
        raise InputError(f"This sweep has {spec.most:,} points, more than {MOST:,}; leave some choices out.")
    return spec


def sweep_run(spec: SweepSpec) -> Run:
    """A run of this sweep without its points; an equal specification gives the same id."""
    content = json.loads(json.dumps(asdict(checked(spec))))
    budgets = f"{len(spec.keeps)} budget{'' if len(spec.keeps) == 1 else 's'} in {QUANTITY_WORDS[spec.quantity]}"
    title = f"{', '.join(spec.families)} by {', '.join(spec.methods)}{_by(spec)}, {budgets}"
    return Run.new(KIND, title, spec.name, spec.digest, content)


def spec_of(run: Run) -> SweepSpec:
    """The specification a run was made from. InputError if it is of another version."""
    try:
        sides = {name: tuple(run.spec[name]) for name in ("keeps", "methods", "families", "repairs", "seeds")}
        return SweepSpec(**{**run.spec, **sides})
    except (TypeError, KeyError):
        raise InputError("This sweep was made by another version of Rankscope; start it again.") from None


def prepare(run: Run, store: Store, progress: Progress | None = None) -> None:
    """Calibrates the network and adds the points of the sweep; those that are there already stay as they are."""
    from core import journeys
    from core.training.data import open_data

    spec = spec_of(run)
    opened = journeys.open_network(spec.model, spec.arch)
    if opened.ref.digest != spec.digest:
        raise InputError(f"The weights of {spec.name} have changed since this sweep was started; start another one.")
    data = open_data(spec.data)
    journeys.scored(opened)
    survey = journeys.calibrated_survey(opened, data, spec.samples, spec.seeds[0], progress)
    if spec.sensitivity:
        survey = informed(survey, _damages(spec, store))
    points = tuple(points_of(spec, survey))
    if not points:
        raise InputError(
            f"None of these budgets gives {spec.name} a plan: its forms cannot reach them, or they hold the network as "
            "it is; choose others."
        )
    store.add_points(run.id, points)


def _damages(spec: SweepSpec, store: Store) -> tuple[LayerSensitivity, ...]:
    """What the run that the specification names has measured. InputError if that is not there, or of another model."""
    from core.jobs import sensitivities

    run = store.run(spec.sensitivity)
    found = sensitivities.found_in(store.points(spec.sensitivity)) if run else ()
    if run is None or run.kind != sensitivities.KIND or run.digest != spec.digest or not found:
        raise InputError(
            f"Run {spec.sensitivity!r} has measured no damages of {spec.name}; measure its sensitivity first."
        )
    return found


def points_of(spec: SweepSpec, survey: Survey) -> Iterator[tuple[str, Json]]:
    """(key, request) of every plan; a plan that two budgets or methods share is one point, under the first of them.

    A budget the network fits into as it is, and one below its floor, give no point of their own. Masks execute every
    MAC, so for sets of them a budget in MACs is one in parameters."""
    pins = {layer: Plan.from_json(_plan_json(survey, layer, form)).form(layer) for layer, form in spec.pins.items()}
    seen = set()
    for families in spec.families:
        rules = Rules(pins=pins, floors=spec.floors, families=FAMILY_SETS[families])
        masks = all(not FAMILIES[family].unfolding for family in FAMILY_SETS[families])
        quantity = "params" if masks and spec.quantity == "macs" else spec.quantity  # masks execute every MAC
        for method in spec.methods:
            for keep in sorted(spec.keeps):
                made = allocate(survey, Budget.keep(survey, keep, quantity), method, rules)
                if made.outcome != "OK" or not made.plan.layers:
                    continue
                for repair in spec.repairs:
                    for seed in spec.seeds:
                        steps = Repair(REPAIRS[repair], spec.samples, seed)
                        plan = replace(made.plan, repair=steps, remove=families == REMOVED)
                        name = key([plan.to_json(), spec.limit, spec.timed, seed])[:16]
                        if name in seen:
                            continue
                        seen.add(name)
                        about = {
                            "label": f"{share(keep, quantity)}, {families}, {method}{_by(spec)}, repair {repair}",
                            "method": f"{method}{_by(spec)}",
                            "families": families,
                            "repair": repair,
                            "keep": keep,
                            "seed": seed,
                            "predicted": made.error,
                            "objective": made.objective,
                            "cost": asdict(made.cost),
                            "whole": asdict(survey.dense),
                        }
                        yield name, {**_request(spec, plan, seed), "about": about}


def tradeoff_points(points: Sequence[Point]) -> list[TradeoffPoint]:
    """What a store holds of a sweep's points, measured or not, in their order."""
    return [_point(point) for point in points if point.request.get("about")]


def measured(result: Json) -> dict[str, Measurement]:
    """The measurements in the result of one point: accuracy, accuracy_dense, and where it was timed latency_ms and
    latency_dense_ms (medians; spread: the A/A noise in ms)."""
    made = {"accuracy_dense": measurement_of(result["dense"])}
    if result["compressed"]:
        made["accuracy"] = measurement_of(result["compressed"])
    times = result["latency"]
    if times:
        noise = times["noise"] * times["dense"][2]
        for name, quartiles in (("latency_ms", times["compressed"]), ("latency_dense_ms", times["dense"])):
            what = "milliseconds of one sample, median; spread: A/A noise"
            content = {"what": what, "value": quartiles[2], "spread": noise, "n": times["repeats"], "seed": 0}
            made[name] = measurement_of({**content, "provenance": times["provenance"]})
    return made


def share(keep: float, quantity: str) -> str:
    """A budget as people read it: "40 % of MACs"."""
    return f"{100 * keep:.3g} % of {QUANTITY_WORDS[quantity]}"


def _by(spec: SweepSpec) -> str:
    """What the allocators went by, where that is not the calibrated curves."""
    return " on measured damage" if spec.sensitivity else ""


def _request(spec: SweepSpec, plan: Plan, seed: int) -> Json:
    return {
        "do": "evaluate",
        "model": spec.model,
        "arch": spec.arch,
        "data": spec.data,
        "plan": plan.to_json(),
        "limit": spec.limit,
        "seed": seed,
        "stages": False,
        "timed": spec.timed,
    }


def _point(point: Point) -> TradeoffPoint:
    about = point.request["about"]
    found = measured(point.result) if point.result else {}
    counted = point.result.get("cost") if point.result else None
    return TradeoffPoint(
        key=point.key,
        label=about["label"],
        plan=point.request["plan"],
        method=about["method"],
        families=about["families"],
        repair=about["repair"],
        keep=about["keep"],
        seed=about["seed"],
        cost=Cost(**(counted or about["cost"])),
        whole=Cost(**about["whole"]) if about.get("whole") else None,
        predicted=about["predicted"],
        objective=about["objective"],
        accuracy=found.get("accuracy"),
        dense=found.get("accuracy_dense"),
        latency=found.get("latency_ms"),
        against=found.get("latency_dense_ms"),
        before=measurement_of(point.result["before"]) if point.result and "before" in point.result else None,
    )


def _plan_json(survey: Survey, layer: str, form: Json) -> str:
    """A plan of one layer around a form as JSON holds it."""
    content = json.loads(Plan(survey.model).to_json())
    return json.dumps({**content, "layers": [{**form, "layer": layer}]})
