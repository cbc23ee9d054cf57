"""A plan as it stands in an address: packed, or the id under which it lies on this machine. No streamlit, no torch."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import struct
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

from core.compression.plans import STEPS, LayerPlan, Plan, Repair, check_plan
from core.compression.survey import Survey
from core.errors import PlanError
from core.folders import user_folder
from core.networks.forms import (
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

LONGEST = 1500
"""Characters of a packed plan above which the address holds the id of a stored one."""

_REPAIR, _LAYER = ">BIq", ">IBI"
"""How the repair (steps, samples, seed) and a layer (name, family, level) are packed."""

_REMOVE = 1 << 7
"""The bit beside the repair's steps that says that masked rows are removed for real."""

_FAMILY_IDS = (
    "dense", "lowrank", "lowrank_in", "spatial", "sparse", "sparse24", "filters", "random", "lowrank_sparse",
)  # fmt: skip
"""Families by the number that stands for each in links; links are kept for years, so only ever add to its end."""

_MORE = 255
"""In place of a family: this row holds the second number of the layer's form, where that is not 0."""

_ID = re.compile("[0-9a-f]{24}")


def plan_text(plan: Plan) -> str:
    """A plan as it stands in an address: encoded, or "@" and the id under which it is stored when that is too long."""
    text = encode_plan(plan)
    if len(text) <= LONGEST:
        return text
    id = _store(plan.to_json())
    return f"@{id}" if id else text


def encode_plan(plan: Plan) -> str:
    """A plan as URL-safe text: a checksum of the rest and of the model, then compressed the repair, and per layer its
    name's checksum, family and level, and what else its form has in a second row."""
    repair = plan.repair
    steps = sum(1 << i for i, step in enumerate(STEPS) if step in repair.steps) | (_REMOVE if plan.remove else 0)
    body = struct.pack(_REPAIR, steps, repair.samples, repair.seed)
    for entry in plan.layers:
        name, form = zlib.crc32(entry.layer.encode()), entry.form
        body += struct.pack(_LAYER, name, _FAMILY_IDS.index(form.family), form.level)
        if _second(form):
            body += struct.pack(_LAYER, name, _MORE, _second(form))
    packed = zlib.compress(body, 9)
    return _letters(struct.pack(">I", zlib.crc32(packed + plan.model.digest.encode())) + packed)


def decode_plan(text: str, survey: Survey) -> Plan | None:
    """The plan that `plan_text` wrote, for this survey; None if it is damaged, of another model or not stored here."""
    plan = _stored_plan(text[1:]) if text.startswith("@") else _decoded(text, survey)
    if plan is None or plan.model.digest != survey.model.digest:
        return None
    plan = replace(plan, model=survey.model)
    try:
        check_plan(plan, survey.model, survey.views)
    except PlanError:
        return None
    return plan


def _stored_plan(id: str) -> Plan | None:
    text = _stored(id)
    try:
        return None if text is None else Plan.from_json(text)
    except PlanError:
        return None


def _decoded(text: str, survey: Survey) -> Plan | None:
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        check, packed = struct.unpack(">I", whole[:4])[0], whole[4:]
        if zlib.crc32(packed + survey.model.digest.encode()) != check or _letters(whole) != text:
            return None
        body = zlib.decompressobj().decompress(packed, 1 << 20)
        start = struct.calcsize(_REPAIR)
        steps, samples, seed = struct.unpack(_REPAIR, body[:start])
        rows = list(struct.iter_unpack(_LAYER, body[start:]))
    except (binascii.Error, ValueError, zlib.error, struct.error):
        return None
    names = {zlib.crc32(view.name.encode()): view.name for view in survey.views}
    more = {name: number for name, family, number in rows if family == _MORE}
    rows = [row for row in rows if row[1] != _MORE]
    known = all(name in names and 0 < family < len(_FAMILY_IDS) for name, family, _ in rows)
    if not known or samples < 1 or len({name for name, _, _ in rows}) < len(rows):
        return None
    layers = tuple(LayerPlan(names[n], _form(_FAMILY_IDS[family], level, more.get(n, 0))) for n, family, level in rows)
    chosen = tuple(step for i, step in enumerate(STEPS) if steps >> i & 1)
    return Plan(survey.model, layers, Repair(chosen, samples, seed), bool(steps & _REMOVE))


def _letters(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def is_stored(text: str) -> bool:
    """Whether the plan behind an "@" and an id lies on this machine."""
    return _stored(text[1:]) is not None


def _second(form: Form) -> int:
    """What a form has besides its level, 0 for nothing."""
    if isinstance(form, LowRankSparse):
        return form.nonzeros
    return form.seed if isinstance(form, RandomSparse) else 0


def _form(family: str, level: int, second: int) -> Form:
    makers: dict[str, Form] = {
        "lowrank": LowRank(level),
        "lowrank_in": LowRank(level, True),
        "spatial": SpatialLowRank(level),
        "sparse": Sparse(level),
        "sparse24": SemiSparse(),
        "filters": Filters(level),
        "random": RandomSparse(level, second),
        "lowrank_sparse": LowRankSparse(level, second),
    }
    return makers.get(family, Dense())


def _store(text: str) -> str:
    """Keeps a text and returns its id, 24 hexadecimal digits of its SHA-256; "" if the folder cannot be written. Equal
    texts are kept once."""
    id = hashlib.sha256(text.encode()).hexdigest()[:24]
    path = _folder() / f"{id}.json"
    if path.exists():
        return id
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).replace(path)
    except OSError:
        return ""
    return id


def _stored(id: str) -> str | None:
    """The text kept under an id, None if it is no id or there is none."""
    if not _ID.fullmatch(id):
        return None
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (_folder() / f"{id}.json").read_text(encoding="utf-8")
    return None


def _folder() -> Path:
    return user_folder() / "configurations"
