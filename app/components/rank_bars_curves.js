// Rank bars, part 3 of 5: the right panel. Spectrum and predicted errors of the primary layer against the level,
// with the cut, the break-even lines and the zones "saves" and "costs more".

function primaryLayer(view) {
  return view.data.layers.find((layer) => layer.name === view.primary) ?? view.data.layers[0];
}

// The family whose curves are shown: the chosen one, or for a dense layer the one it would return to.
function shownFamily(view, layer) {
  const choice = view.choices.get(layer.name);
  return familyOf(layer, choice) ?? layer.families[view.last.get(layer.name)?.family ?? 0] ?? null;
}

// Axes of the panel: x(level) and y(value) in pixels; y is logarithmic when there is a spectrum, down to the smallest
// value of it, and to errors of 1 %: a smaller one stands on the axis.
function curveAxes(rect, family) {
  const sigma = family.S && family.S.length ? family.S : null;
  const errors = [...family.plain, ...(family.output ?? [])].filter((value) => value > 0);
  const smallest = sigma ? Math.min(...sigma.filter((value) => value > 0), Math.max(0.01, Math.min(...errors, 1))) : 1;
  const low = clamp(Math.floor(Math.log10(smallest)), -3, -1);
  const share = (value) => (sigma ? clamp(1 - Math.log10(Math.max(value, 1e-12)) / low, 0, 1) : clamp(value, 0, 1));
  return {
    x: (level) => rect.x + (rect.w * level) / family.full,
    y: (value) => rect.y + rect.h * (1 - share(value)),
    ticks: sigma ? Array.from({ length: 1 - low }, (_, i) => 10 ** -i) : [0, 0.25, 0.5, 0.75, 1],
    log: Boolean(sigma),
  };
}

function curvesOf(family, colours) {
  const weights = family.bound ? "error of weights, at most" : "error of weights";
  const all = [
    { words: "σ / σ₁", ys: family.S, colour: colours.sigma, width: 1.75, dash: [], dots: true },
    { words: weights, ys: family.plain, colour: colours.accent, width: 1.75, dash: [6, 4] },
    { words: "error of outputs", ys: family.output, colour: colours.accent, width: 2.75, dash: [] },
  ];
  return all.filter((curve) => curve.ys && curve.ys.length);
}

function paintCurves(pen) {
  const { layout: { curves: rect, k }, colours, view } = pen;
  const layer = primaryLayer(view);
  const family = layer.obstacle ? null : shownFamily(view, layer);
  const title = family ? `${layer.label}, ${family.label}` : layer.label;
  setFont(pen, 12, 600);
  write(pen, shorten(pen.ctx, title, rect.w + 40 * k), rect.x - 46 * k, rect.y - 16 * k, { colour: colours.text });
  if (!family) return paintReason(pen, rect, `Stays dense: ${layer.obstacle}`);
  const axes = curveAxes(rect, family);
  paintZones(pen, rect, axes, layer, family);
  paintAxes(pen, rect, axes, family);
  const curves = curvesOf(family, colours);
  paintBreakEvens(pen, rect, axes, family);
  for (const curve of curves) paintCurve(pen, axes, family, curve);
  const level = paintCut(pen, rect, axes, layer, family);
  paintCurveLabels(pen, rect, axes, family, curves);
  if (level) paintCutValues(pen, rect, axes, family, curves, level);
  return undefined;
}

function paintReason(pen, rect, words) {
  const { ctx, colours, k } = pen;
  ctx.strokeStyle = colours.grid;
  ctx.lineWidth = 1;
  ctx.strokeRect(rect.x, rect.y, rect.w, rect.h);
  setFont(pen, 13);
  let line = "";
  let y = rect.y + rect.h * 0.4;
  for (const word of words.split(" ")) {
    if (line && ctx.measureText(`${line} ${word}`).width > rect.w - 24 * k) {
      write(pen, line, rect.x + 12 * k, y);
      line = word;
      y += 19 * k;
    } else line = line ? `${line} ${word}` : word;
  }
  write(pen, line, rect.x + 12 * k, y);
}

function paintZones(pen, rect, axes, layer, family) {
  const { ctx, colours, k, view } = pen;
  const q = quantityIndex(view.data);
  const even = evenLevel(family, q);
  const edge = axes.x(even);
  ctx.fillStyle = colours.saves;
  ctx.fillRect(rect.x, rect.y, edge - rect.x, rect.h);
  ctx.fillStyle = pen.hatch;
  ctx.fillRect(edge, rect.y, rect.x + rect.w - edge, rect.h);
  const dearer = costsMore(layer, { family: layer.families.indexOf(family), level: family.full }, q);
  setFont(pen, 12, 600);
  const style = { colour: colours.text, halo: true };
  if (edge - rect.x > 50 * k) write(pen, "saves", rect.x + 8 * k, rect.y + rect.h - 22 * k, style);
  const words = dearer ? "costs more" : "saves nothing";
  const room = rect.x + rect.w - edge;
  if (room > ctx.measureText(words).width + 12 * k) {
    write(pen, words, rect.x + rect.w - 8 * k, rect.y + 13 * k, { ...style, align: "right" });
  } else if (room > 16 * k) {
    ctx.save();
    ctx.translate(edge + room / 2, rect.y + 30 * k);
    ctx.rotate(-Math.PI / 2);
    write(pen, words, 0, 0, { ...style, align: "right" });
    ctx.restore();
  }
}

function paintAxes(pen, rect, axes, family) {
  const { ctx, colours, k } = pen;
  setFont(pen, 11.5);
  for (const value of axes.ticks) {
    const y = Math.round(axes.y(value)) + 0.5;
    stroke(pen, [[rect.x, y], [rect.x + rect.w, y]], colours.grid);
    write(pen, `${Number((100 * value).toPrecision(2))}${NBSP}%`, rect.x - 6 * k, y, { align: "right" });
  }
  stroke(pen, [[rect.x, rect.y], [rect.x, rect.y + rect.h], [rect.x + rect.w, rect.y + rect.h]], colours.muted);
  const rough = family.full / clamp(Math.floor(rect.w / (44 * k)), 2, 7);
  const power = 10 ** Math.floor(Math.log10(rough));
  const gap = Math.max(1, [1, 2, 5, 10].map((n) => n * power).find((size) => size >= rough));
  for (let level = gap; level <= family.full + 0.01; level += gap) {
    write(pen, String(Math.round(level)), axes.x(level), rect.y + rect.h + 12 * k, { align: "center" });
  }
  setFont(pen, 11.5);
  write(pen, unitWords(family), rect.x, rect.y + rect.h + 30 * k);
  ctx.save();
  ctx.translate(rect.x - 47 * k, rect.y + rect.h / 2);
  ctx.rotate(-Math.PI / 2);
  write(pen, axes.log ? "relative size, % (log)" : "relative error, %", 0, 0, { align: "center" });
  ctx.restore();
}

function paintCurve(pen, axes, family, curve) {
  const { ctx } = pen;
  const points = family.at.map((level, i) => [axes.x(level), axes.y(curve.ys[i])]);
  stroke(pen, points, curve.colour, curve.width, curve.dash);
  if (!curve.dots || points.length > 40) return;
  ctx.fillStyle = curve.colour;
  for (const [x, y] of points) {
    ctx.beginPath();
    ctx.arc(x, y, 2, 0, 2 * Math.PI);
    ctx.fill();
  }
}

// One line per distinct break-even level, named under the axis; the chosen quantity's is solid, the others dotted.
function paintBreakEvens(pen, rect, axes, family) {
  const { ctx, colours, k, view } = pen;
  const q = quantityIndex(view.data);
  const groups = new Map();
  for (const i of [q, 0, 1, 2].filter((i, at, all) => all.indexOf(i) === at)) {
    const level = evenLevel(family, i);
    groups.set(level, [...(groups.get(level) ?? []), QUANTITY_WORDS[QUANTITIES[i]]]);
  }
  setFont(pen, 11.5);
  const taken = [[0, rect.x + ctx.measureText(unitWords(family)).width + 10 * k]];
  for (const [level, members] of groups) {
    const x = axes.x(level);
    const mine = taken.length === 1;
    const words = mine ? `break-even ${level}` : `${level} (${members.join(", ")})`;
    setFont(pen, 11.5, mine ? 600 : 400);
    const w = ctx.measureText(words).width;
    const lefts = [x - w / 2, x - w, x].map((left) => clamp(left, rect.x, rect.x + rect.w + 10 - w));
    const left = mine ? lefts[0] : lefts.find((at) => taken.every(([from, to]) => at >= to || at + w <= from));
    if (left === undefined) continue;
    taken.push([left - 8, left + w + 8]);
    const foot = rect.y + rect.h;
    const colour = mine ? colours.text : colours.muted;
    stroke(pen, [[x, rect.y], [x, foot + (mine ? 5 : 3)]], colour, mine ? 1.5 : 1, mine ? [] : [2, 3]);
    write(pen, words, left, foot + 30 * k, { colour });
  }
}

function unitWords(family) {
  return family.unit === "rank" ? "rank" : "weights kept, %";
}

// Where the curves' names go: for each the spot beside it that the fewest lines and names pass through. Does not
// depend on the cut, so names stay put while it moves; kept until the family or the panel changes.
function curveSpots(pen, rect, axes, family, curves) {
  const { ctx, k, view } = pen;
  const key = JSON.stringify([view.primary, family.id, rect, k, view.data.revision, view.data.quantity]);
  if (view.spots?.key === key) return view.spots.boxes;
  const columns = Array.from({ length: 81 }, (_, i) => (family.full * i) / 80);
  const trace = (curve) => columns.map((level) => [axes.x(level), axes.y(interpolate(family.at, curve.ys, level))]);
  const traces = curves.map(trace);
  const edge = axes.x(evenLevel(family, quantityIndex(view.data)));
  const line = columns.map((_, i) => [edge, rect.y + (rect.h * i) / 80]);
  const boxes = [
    { x: rect.x, y: rect.y + rect.h - 32 * k, w: 60 * k, h: 32 * k },
    { x: rect.x + rect.w - 90 * k, y: rect.y, w: 90 * k, h: 26 * k },
  ];
  const reserved = boxes.length;
  curves.forEach((curve, c) => {
    const size = { w: ctx.measureText(curve.words).width, h: 15 * k };
    const others = [...line, ...traces.filter((_, i) => i !== c).flat()];
    boxes.push(bestSpot(rect, traces[c], size, others, boxes));
  });
  view.spots = { key, boxes: boxes.slice(reserved) };
  return view.spots.boxes;
}

function bestSpot(rect, trace, { w, h }, others, boxes) {
  let best = null;
  for (const [px, py] of trace) {
    const offsets = [[-w / 2, -1.4 * h], [-w / 2, 0.4 * h], [5, -1.05 * h], [-w - 5, 0.05 * h]];
    for (const [dx, dy] of offsets) {
      const [x, y] = [px + dx, py + dy];
      if (x < rect.x + 4 || x + w > rect.x + rect.w - 4 || y < rect.y || y + h > rect.y + rect.h) continue;
      const near = (points, gap) => points.filter(([qx, qy]) => (
        qx > x - gap && qx < x + w + gap && qy > y - gap && qy < y + h + gap)).length;
      const over = (box) => box && box.x < x + w + 6 && x < box.x + box.w + 6 && box.y < y + h && y < box.y + box.h;
      const clash = boxes.some(over);
      const score = 2 * near(trace, 1) + 3 * near(others, 3) + (clash ? 100 : 0) + Math.abs((px - rect.x) / rect.w - 0.5);
      if (!best || score < best.score) best = { x, y, w, h, score };
    }
  }
  return best;
}

function paintCurveLabels(pen, rect, axes, family, curves) {
  setFont(pen, 12, 600);
  curveSpots(pen, rect, axes, family, curves).forEach((box, c) => {
    const colour = mix(curves[c].colour, pen.colours.text, 0.6);
    if (box) write(pen, curves[c].words, box.x, box.y + box.h / 2, { colour, halo: true });
  });
}

// Draws the cut with its grip on the axis; returns the level it stands at, or 0 for a dense layer.
function paintCut(pen, rect, axes, layer, family) {
  const { ctx, colours, view } = pen;
  const choice = view.choices.get(layer.name);
  const x = axes.x(choice.family === DENSE ? family.full : choice.level);
  const foot = rect.y + rect.h;
  stroke(pen, [[x, rect.y], [x, foot]], colours.back, 5);
  stroke(pen, [[x, rect.y], [x, foot]], colours.accent, 2.5);
  ctx.fillStyle = colours.back;
  ctx.strokeStyle = colours.accent;
  ctx.lineWidth = 2.5;
  ctx.beginPath();
  ctx.roundRect(x - 5, foot - 14, 10, 20, 5);
  ctx.fill();
  ctx.stroke();
  return choice.family === DENSE ? 0 : choice.level;
}

function paintCutValues(pen, rect, axes, family, curves, level) {
  const { ctx, colours, k } = pen;
  const x = axes.x(level);
  const toLeft = x > rect.x + rect.w * 0.6;
  const side = x + (toLeft ? -10 : 10);
  const style = { colour: colours.text, align: toLeft ? "right" : "left", halo: true };
  const marks = curves.filter((curve) => !curve.dots).map((curve) => {
    const value = interpolate(family.at, curve.ys, level);
    return { curve, value, y: axes.y(value), at: axes.y(value) };
  });
  marks.sort((a, b) => a.y - b.y);
  for (let i = 1; i < marks.length; i += 1) marks[i].at = Math.max(marks[i].at, marks[i - 1].at + 15 * k);
  setFont(pen, 12, 700);
  write(pen, family.unit === "rank" ? `rank ${level}` : `${level}${NBSP}%`, side, rect.y + 13 * k, style);
  for (const mark of marks) {
    ctx.fillStyle = mark.curve.dash.length ? colours.back : mark.curve.colour;
    ctx.strokeStyle = mark.curve.colour;
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.arc(x, mark.y, 4.5, 0, 2 * Math.PI);
    ctx.fill();
    ctx.stroke();
    write(pen, errorPercent(mark.value), side, Math.min(mark.at, rect.y + rect.h - 8), style);
  }
}
