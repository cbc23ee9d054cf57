"""What a report is made of, as text: escaping, tables, a spectrum as a small drawing, definitions, style sheet, page.

A page holds no script, asks nothing of any host and forbids both by its own policy. Every text from outside goes
through `text`. Pure functions of plain values; the colours are those of the app (Okabe and Ito 2008).
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

POINTS = 60
"""Most points a drawn spectrum has (chosen: half a pixel each)."""

WIDTH, HEIGHT = 120, 34
"""Of a drawn spectrum, in pixels."""

TERMS: dict[str, tuple[str, str]] = {
    "layer": ("layer", "a part of the network that holds one weight matrix W (m outputs × n inputs), y = W x + b."),
    "shape": (
        "shape",
        "outputs × inputs of a linear layer; input channels → output channels, kernel sides, of a convolution.",
    ),
    "form": (
        "form",
        "how a layer is stored. Dense: as it was. Low-rank: as two smaller layers whose product replaces W; for a "
        "convolution a k × k one to r channels and a 1 × 1 one, or 1 × 1 first, or (spatial) k × 1 and 1 × k. Sparse: "
        "with all but its largest weights, the largest two of every four (2:4), its largest rows or filters, or "
        "weights drawn at random set to zero. Low-rank + sparse: two smaller layers, and beside them a layer with few "
        "weights; their outputs are added.",
    ),
    "level": (
        "level",
        "what turns a form: the rank r, the width between its two smaller layers; the share of weights kept; or "
        "the rows kept.",
    ),
    "parameters": ("parameters", "weights and biases that are not zero by construction."),
    "macs": (
        "MACs",
        "multiply–adds that one sample takes in dense kernels; 1 MAC is 2 FLOPs; biases are not counted. A mask of "
        "zeros saves none of them.",
    ),
    "useful": ("useful MACs", "multiply–adds that touch a weight which is not zero: what a sparse kernel would need."),
    "bytes": (
        "bytes",
        "values in their stored type, plus the index that a sparse form needs. The file model.safetensors keeps the "
        "zeros of sparse layers, so that any program can read it, and is larger by them.",
    ),
    "kept": ("kept", "after divided by before."),
    "spectrum": (
        "spectrum",
        "the singular values of the layer's matrix, largest first, relative to the largest. The upright line is the "
        "cut: what lies to its left was kept. It is drawn for the matrix that the form splits, before any repair.",
    ),
    "energy": ("energy", "the share of the sum of squared singular values that lies left of the cut."),
    "weight-error": (
        "weight error",
        "predicted: the relative Frobenius distance of the truncated weight to W, ‖W − W_r‖ / ‖W‖. Repair may raise it "
        "on purpose.",
    ),
    "output-error": (
        "output error",
        "predicted: the relative root mean square error of the layer's outputs on the calibration inputs, with factors "
        "fitted to them, all other layers dense.",
    ),
    "predicted": ("predicted", "computed from weights, spectra and calibration inputs, without labels."),
    "measured": ("measured", "counted or timed by running the network; the conditions stand beside the number."),
    "accuracy": ("accuracy", "the share of examples whose highest score is at their label (top-1)."),
    "spread": (
        "spread",
        "of an accuracy p over n examples the binomial standard error √(p (1 − p) / n). Both networks ran on the same "
        "examples.",
    ),
    "seed": ("seed", "the integer that decides which examples were drawn."),
    "calibration": (
        "calibration",
        "inputs of the training split, without labels, on which a plan is repaired and output errors are predicted.",
    ),
    "repair": (
        "repair",
        "steps that change a compressed network so that its outputs come closer to the dense network's; no labels, no "
        "gradients. plain: truncation alone. whitened: factors least-squares fitted to each layer's own outputs. "
        "sequential: the same, in forward order, from the inputs that the compressed layers before give. removed: "
        "masked rows taken out for real, which is always kept. batchnorm: "
        "running means and variances estimated anew. bias: mean errors of outputs taken off the biases. A step is kept "
        "only if it lowers the distance.",
    ),
    "distance": (
        "distance",
        "‖outputs − dense outputs‖ / ‖dense outputs‖ of the whole network on the calibration inputs; 0 is no change.",
    ),
    "latency": (
        "latency",
        "milliseconds of one forward pass on one thread, dense and compressed in turns; quartiles of all repeats.",
    ),
    "noise": (
        "noise",
        "how far two timings of the same dense network lie apart, at least 2 %; a smaller change is no difference.",
    ),
    "digest": ("digest", "SHA-256: equal content, equal digits."),
}
"""Anchor -> (term, what it means here). Every heading and label of a report links to one of them."""


def text(value: object) -> str:
    """As HTML text or attribute value. Characters that do not print (controls, direction marks) show as \\u codes."""
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in str(value))
    return html.escape(shown, quote=True)


def name(value: object) -> str:
    """A layer's name, which may break after a dot."""
    return text(value).replace(".", ".<wbr>")


def term(anchor: str, words: str = "") -> str:
    """A link to the definition of a term. KeyError for a term without one."""
    return f'<a href="#{anchor}">{text(words or TERMS[anchor][0])}</a>'


def count(number: int) -> str:
    """1,234,567."""
    return f"{number:,}"


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction as per cent, "< 0.1 %" for less than the last digit shows."""
    least = 10.0 ** -(digits + 2)
    return f"< {100 * least:.{digits}f} %" if 0 < fraction < least else f"{100 * fraction:.{digits}f} %"


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    words: Sequence[int] = (),
    groups: Sequence[tuple[str, int]] = (),
    foot: Sequence[str] = (),
) -> str:
    """A table of ready HTML cells; the first of a row names it.

    words: columns that hold words, not numbers. groups: (heading, columns) above the heads. foot: a last row."""
    above = "".join(f'<th scope="colgroup" colspan="{n}">{label}</th>' for label, n in groups)
    head = "".join(f'<th scope="col"{_kind(i, words)}>{label}</th>' for i, label in enumerate(heads))
    body = "".join(_row(row, words) for row in rows)
    top = f"<tr>{above}</tr><tr>{head}</tr>" if groups else f"<tr>{head}</tr>"
    end = f"<tfoot>{_row(foot, words)}</tfoot>" if foot else ""
    return f'<div class="wide"><table><thead>{top}</thead><tbody>{body}</tbody>{end}</table></div>'


def _row(cells: Sequence[str], words: Sequence[int]) -> str:
    others = "".join(f"<td{_kind(i, words)}>{cell}</td>" for i, cell in enumerate(cells) if i)
    return f'<tr><th scope="row">{cells[0]}</th>{others}</tr>'


def _kind(column: int, words: Sequence[int]) -> str:
    return ' class="words"' if column in words else ""


def section(title: str, *parts: str) -> str:
    """A section with a heading; `title` is plain text, `parts` are HTML."""
    return f"<section><h2>{text(title)}</h2>{''.join(parts)}</section>"


def paragraph(*parts: str, note: bool = False) -> str:
    """A paragraph of ready HTML; a note is smaller and muted."""
    start = '<p class="note">' if note else "<p>"
    return f"{start}{' '.join(part for part in parts if part)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """A list of ready HTML lines, "" if there are none."""
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def spectrum_drawing(S: Sequence[float], cut: int, words: str) -> str:
    """Singular values S (k,), non-increasing, relative to the first, over 0..k as an SVG; a line at `cut` in 0..k.

    words say the same for those who cannot see it."""
    top = S[0] if S and S[0] > 0 else 1.0
    k = len(S)
    picks = sorted({round(i * (k - 1) / (POINTS - 1)) for i in range(POINTS)}) if k > POINTS else range(k)
    points = [((i + 0.5) * WIDTH / k, HEIGHT - 2 - (HEIGHT - 4) * S[i] / top) for i in picks]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    at = WIDTH * cut / max(k, 1)
    return (
        f'<svg class="spectrum" role="img" aria-label="{text(words)}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}"><title>{text(words)}</title>'
        f'<rect class="kept" x="0" y="0" width="{at:.1f}" height="{HEIGHT}"/><polyline points="{line}"/>'
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{HEIGHT}"/></svg>'
    )


def definitions() -> str:
    """Every term with its meaning, in the order of `TERMS`."""
    pairs = (f'<dt id="{anchor}">{text(word)}</dt><dd>{text(means)}</dd>' for anchor, (word, means) in TERMS.items())
    return f"<dl>{''.join(pairs)}</dl>"


def document(title: str, *sections: str) -> str:
    """The whole document; `title` is plain text."""
    return (
        '<!DOCTYPE html>\n<html lang="en-GB"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body><main><h1>{text(title)}</h1>"
        f"{''.join(sections)}</main></body></html>\n"
    )


STYLE = """
:root { color-scheme: light dark; --back: #FFFFFF; --surface: #F3F5F7; --words: #1F2329; --muted: #5B616B;
  --rule: #D5D9DE; --accent: #0063A0; --line: #0072B2; --cut: #D55E00; --kept: #E3EEF6 }
@media (prefers-color-scheme: dark) { :root { --back: #0E1117; --surface: #1C2128; --words: #E8EAED; --muted: #A9B1BC;
  --rule: #3A414B; --accent: #56B4E9; --line: #56B4E9; --cut: #E69F00; --kept: #1B2A3A } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--words);
  font: 15px/1.5 "Source Sans 3", "Source Sans Pro", "Segoe UI", system-ui, sans-serif }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 8px; overflow-wrap: anywhere }
h2 { font-size: 19px; margin: 40px 0 8px }
p { max-width: 76ch; margin: 8px 0 }
.note { color: var(--muted); font-size: 14px }
a { color: inherit; text-decoration: underline dotted var(--muted); text-underline-offset: 3px }
a:hover, a:focus-visible { color: var(--accent); text-decoration-style: solid }
code { font: 13px/1.5 ui-monospace, "Source Code Pro", monospace; overflow-wrap: anywhere }
pre { background: var(--surface); padding: 12px 16px; border-radius: 6px; overflow-x: auto }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; padding: 0; list-style: none }
.figures li { flex: 1 1 200px; background: var(--surface); border-radius: 8px; padding: 12px 16px }
.figures b { display: block; font-size: 24px; line-height: 1.3; font-weight: 600 }
.figures span { color: var(--muted); font-size: 14px }
.wide { overflow-x: auto; margin: 12px 0 }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums }
th, td { padding: 5px 12px 5px 0; text-align: right; vertical-align: middle; border-bottom: 1px solid var(--rule) }
thead th { color: var(--muted); font-weight: 600; vertical-align: bottom }
thead th[colspan] { text-align: center }
th:first-child, .words { text-align: left }
tbody th { font-weight: 400; overflow-wrap: break-word; max-width: 260px }
tfoot th, tfoot td { font-weight: 600; border-bottom: 0 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 20px; margin: 12px 0 }
dt { font-weight: 600 }
dd { margin: 0; max-width: 84ch }
dt:target, dt:target + dd { background: var(--kept) }
svg.spectrum { display: block; background: var(--surface) }
svg.spectrum .kept { fill: var(--kept) }
svg.spectrum polyline { fill: none; stroke: var(--line); stroke-width: 1.5 }
svg.spectrum line { stroke: var(--cut); stroke-width: 1.5; stroke-dasharray: 3 2 }
@media (max-width: 640px) { dl { grid-template-columns: 1fr } dd { margin-bottom: 8px } }
@page { size: A4 landscape; margin: 14mm }
@media print { :root { color-scheme: light; --back: #FFFFFF; --surface: #F3F5F7; --words: #000000; --muted: #444444;
  --rule: #BBBBBB; --line: #0072B2; --cut: #D55E00; --kept: #E3EEF6 }
  main { max-width: none; padding: 0 } body { font-size: 11px } table, .note, code { font-size: 10px }
  h2 { break-after: avoid } tr, .figures li { break-inside: avoid } thead { display: table-header-group }
  .wide { overflow: visible } svg.spectrum, .figures li { print-color-adjust: exact } }
"""
