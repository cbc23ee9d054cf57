"""A page with nothing but the rank bars on synthetic layers, its last message, and totals computed in Python.

Address parameters: n (layers), view, mode, quantity, scale, hostile=1 (one layer has a name with markup),
deaf=1 (messages are shown and not acted on).
"""

from __future__ import annotations

import json
import math
from typing import Any

import streamlit as st

from app.components import last_message, rank_bars, share_percent, unseen

Json = dict[str, Any]
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


def family(name: str, label: str, m: int, n: int, positions: int, decay: float, unit: str) -> Json:
    """One family of an m x n layer: costs as integers, power-law singular values, errors from their tails."""
    k = min(m, n)
    if unit == "rank":
        slope = [m + n, (m + n) * positions, 4 * (m + n)]
        full, even = k, [(m * n - 1) // (m + n)] * 3
    else:
        per_cent = m * n // 100
        slope, full = [per_cent, per_cent * positions, 5 * per_cent], 100
        even = [99, 99, 79]
    sigma = [(i + 1) ** -decay for i in range(k)]
    tails = [0.0]
    for value in reversed(sigma):
        tails.append(tails[-1] + value * value)
    tails.reverse()
    at = sorted({max(1, round(full ** (i / 23))) for i in range(24)} | {full})
    rank = [min(k, round(level * k / full)) for level in at]
    plain = [round(math.sqrt(tails[r] / tails[0]), 5) for r in rank]
    S = [round(sigma[r - 1], 5) for r in rank] if unit == "rank" else None
    return {
        "id": name,
        "label": label,
        "unit": unit,
        "full": full,
        "base": [0, 0, 0],
        "slope": slope,
        "even": even,
        "at": at,
        "plain": plain,
        "output": [round(0.7 * error**1.2, 5) for error in plain],
        "S": S,
    }


def layer(i: int, count: int, mode: str, hostile: bool) -> Json:
    """Layer i: convolutions that grow with depth; one of them grouped, one dense, one locked."""
    m = (16, 32, 64, 128)[4 * i // count] * (1 + i % 2)
    n, positions = 9 * m // (1 + i % 2), 1024 // 4 ** (4 * i // count)
    name = HOSTILE if hostile and i == 2 else f"layer{4 * i // count + 1}.{i // 2}.conv{i % 2 + 1}"
    decay = 0.55 + 0.5 * ((7 * i) % 11) / 11
    if mode == "sparsity":
        families = [family("sparse", "unstructured", m, n, positions, decay, "% kept")]
    else:
        families = [
            family("lowrank", "k × k then 1 × 1", m, n, positions, decay, "rank"),
            family("spatial", "k × 1 then 1 × k", 3 * m, n // 3, positions, decay + 0.1, "rank"),
        ]
    full = families[0]["full"]
    level = full if i in (0, 5) else max(1, round(full * (0.2 + 0.05 * (i % 7))))
    return {
        "name": name,
        "label": name,
        "obstacle": "grouped convolution: 16 groups of 1 x 9" if i == 5 else "",
        "locked": i == 3,
        "dense": [m * n, m * n * positions, 4 * m * n],
        "families": [] if i == 5 else families,
        "family": -1 if i in (0, 5) else 0,
        "level": level,
    }


def path(layers: list[Json]) -> Json:
    """Stops 0.10, 0.12, ..., 1.00: the same share of every layer's break-even level, dense at the last stop."""
    keep = [round(0.1 + 0.02 * i, 2) for i in range(46)]
    stop = [
        [
            [0, max(1, round(x * item["families"][0]["even"][1]))]
            if item["families"] and x < 1
            else [-1, item["level"]]
            for item in layers
        ]
        for x in keep
    ]
    return {"keep": keep, "choice": stop}


def take(state: Json, message: Json) -> None:
    """Do what a message says to the page's own layers."""
    layers = state["layers"]
    by_name = {item["name"]: item for item in layers}
    if message["kind"] == "dial":
        stops = state["path"]["keep"]
        stop = state["path"]["choice"][min(range(len(stops)), key=lambda i: abs(stops[i] - message["keep"]))]
        state["dial"] = message["keep"]
        for item, (index, level) in zip(layers, stop, strict=True):
            if not item["locked"] and not item["obstacle"]:
                item.update(family=index, level=level)
    else:
        state["primary"] = message["layer"]
        change = {name: message[name] for name in ("family", "level", "locked") if name in message}
        by_name[message["layer"]].update(change)


def cost(item: Json, i: int) -> int:
    """Cost of one layer in quantity i, straight from the contract."""
    if item["family"] < 0:
        return int(item["dense"][i])
    chosen = item["families"][item["family"]]
    return int(chosen["base"][i] + chosen["slope"][i] * item["level"])


def total(state: Json) -> str:
    """Whole-model shares of MACs, parameters and bytes; a layer dearer than dense counts as dense."""
    q = ("params", "macs", "bytes").index(state["quantity"])
    kept, dense = list(state["other"]), list(state["other"])
    for item in state["layers"]:
        dear = cost(item, q) > item["dense"][q]
        for i in range(3):
            kept[i] += item["dense"][i] if dear else cost(item, i)
            dense[i] += item["dense"][i]
    words = {0: "parameters", 1: "MACs", 2: "bytes"}
    order = [q, *(i for i in range(3) if i != q)]
    return ", ".join(f"{share_percent(kept[i], dense[i])} of {words[i]}" for i in order)


def start() -> Json:
    """The page's state from the address."""
    ask = st.query_params
    count, mode = int(ask.get("n", "24")), ask.get("mode", "rank")
    layers = [layer(i, count, mode, "hostile" in ask) for i in range(count)]
    return {
        "view": ask.get("view", "tune"),
        "mode": mode,
        "quantity": ask.get("quantity", "macs"),
        "layers": layers,
        "other": [650, 650, 2600],
        "path": path(layers),
        "dial": 0.5,
        "primary": layers[9]["name"],
        "revision": 1,
        "scale": float(ask.get("scale", "1")),
        "filename": "harness-tune.png",
    }


def heard() -> None:
    """Callback of the component: take every message not yet taken, then say so with a new revision."""
    state = st.session_state["harness"]
    if "deaf" in st.query_params:
        return
    for message in unseen(last_message("bars"), state.get("seq", 0)):
        take(state, message)
        state["seq"], state["revision"] = message["seq"], state["revision"] + 1


@st.fragment
def body() -> None:
    """The component and what Python makes of it."""
    state = st.session_state.setdefault("harness", start())
    data = {name: value for name, value in state.items() if name != "seq"}
    message = rank_bars(data, key="bars", height=400, on_change=heard)
    st.text("python total: " + total(state))
    st.text("python message: " + json.dumps(message, ensure_ascii=False))
    if st.button("Solve"):
        take(state, {"kind": "dial", "keep": 0.3})
        state["revision"] += 1
        st.rerun(scope="fragment")
    st.button("Rerun")


st.set_page_config(page_title="harness", layout="wide")
body()
