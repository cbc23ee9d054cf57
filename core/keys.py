"""Content keys: equal content gives an equal key, and the names of the record types take part."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any


def canonical(value: Any) -> Any:
    """The value as nested lists that JSON can hold, each record tagged with its type name.

    Takes records, mappings with string keys, tuples, lists, strings, numbers, booleans and None.
    Raises TypeError for anything else, so that an object without a stable content cannot slip into a key.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *([f.name, canonical(getattr(value, f.name))] for f in dataclasses.fields(value))]
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return ["dict", *([k, canonical(value[k])] for k in sorted(value))]
    if isinstance(value, (tuple, list)):
        return ["list", *(canonical(v) for v in value)]
    if isinstance(value, float):
        return ["float", value.hex()]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(f"a key needs plain values, got {type(value).__name__}")


def key(record: Any) -> str:
    """32 hexadecimal digits that name the content of `record`: SHA-256 of its canonical JSON, cut to 128 bits."""
    text = json.dumps(canonical(record), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
