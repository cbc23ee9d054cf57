// Rank bars, part 1 of 5: numbers and words. No drawing and no events; every cost is an integer.
//
// A choice is {family, level, locked}: family -1 is dense, level is a rank or a per cent kept.
// Rounding, the same in rank_bars.py: shares of integers go half up to tenths of a per cent in whole-number
// arithmetic (sharePercent); errors are floor(1000 e + 0.5) / 10 in doubles (errorPercent).

const QUANTITIES = ["params", "macs", "bytes"];
const QUANTITY_WORDS = { params: "parameters", macs: "MACs", bytes: "bytes" };
const NBSP = "\u00a0";
const DENSE = -1;

function sharePercent(part, whole) {
  if (!whole) return "unknown";
  const tenths = (2000n * BigInt(part) + BigInt(whole)) / (2n * BigInt(whole));
  return `${tenths / 10n}.${tenths % 10n}${NBSP}%`;
}

function errorPercent(error) {
  return `${(Math.floor(1000 * error + 0.5) / 10).toFixed(1)}${NBSP}%`;
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

function quantityIndex(data) {
  return Math.max(0, QUANTITIES.indexOf(data.quantity));
}

function choiceOf(layer) {
  return { family: layer.family, level: layer.level, locked: Boolean(layer.locked) };
}

function familyOf(layer, choice) {
  return choice.family === DENSE ? null : layer.families[choice.family] ?? null;
}

// Integer cost of the form itself, quantity i of [params, macs, bytes].
function formCost(layer, choice, i) {
  const family = familyOf(layer, choice);
  if (!family) return layer.dense[i];
  return family.cost ? family.cost[choice.level - 1][i] : family.base[i] + family.slope[i] * choice.level;
}

// True when the form costs strictly more than dense in quantity q. Such a layer counts as dense in the totals.
function costsMore(layer, choice, q) {
  return formCost(layer, choice, q) > layer.dense[q];
}

function countedCost(layer, choice, i, q) {
  return costsMore(layer, choice, q) ? layer.dense[i] : formCost(layer, choice, i);
}

// Break-even of a family in quantity q as a level; full when every level saves, 0 when none does.
function evenLevel(family, q) {
  return clamp(family.even[q], 0, family.full);
}

// Linear interpolation of ys over increasing knots xs, constant outside.
function interpolate(xs, ys, x) {
  if (x <= xs[0]) return ys[0];
  for (let i = 1; i < xs.length; i += 1) {
    if (x <= xs[i]) return ys[i - 1] + ((ys[i] - ys[i - 1]) * (x - xs[i - 1])) / (xs[i] - xs[i - 1]);
  }
  return ys[ys.length - 1];
}

function predicted(layer, choice) {
  const family = familyOf(layer, choice);
  if (!family) return { plain: 0, output: 0 };
  const read = (ys) => (ys && ys.length ? interpolate(family.at, ys, choice.level) : null);
  return { plain: read(family.plain), output: read(family.output) };
}

// Largest level of a family that costs no more than the present choice does; from dense, its break-even.
function levelInFamily(layer, choice, index, q) {
  const family = layer.families[index];
  if (choice.family === DENSE) return Math.max(1, evenLevel(family, q));
  const budget = formCost(layer, choice, q);
  let level = family.full;
  while (level > 1 && formCost(layer, { family: index, level }, q) > budget) level -= 1;
  return level;
}

function totals(data, choices) {
  const q = quantityIndex(data);
  const kept = [...data.other];
  const dense = [...data.other];
  let past = 0;
  for (const layer of data.layers) {
    const choice = choices.get(layer.name);
    if (costsMore(layer, choice, q)) past += 1;
    for (let i = 0; i < 3; i += 1) {
      kept[i] += countedCost(layer, choice, i, q);
      dense[i] += layer.dense[i];
    }
  }
  return { kept, dense, past };
}

// Index of the stop of the dial's path nearest to a kept fraction.
function nearestStop(path, keep) {
  let best = 0;
  path.keep.forEach((stop, i) => {
    if (Math.abs(stop - keep) < Math.abs(path.keep[best] - keep)) best = i;
  });
  return best;
}

// Take the allocator's choices of one stop; locked layers and layers with an obstacle keep theirs.
function takeStop(data, choices, stop) {
  data.layers.forEach((layer, i) => {
    const choice = choices.get(layer.name);
    const [family, level] = data.path.choice[stop][i];
    if (!choice.locked && !layer.obstacle) choices.set(layer.name, { ...choice, family, level });
  });
}

function matchesStop(data, choices, stop) {
  return data.layers.every((layer, i) => {
    const choice = choices.get(layer.name);
    const [family, level] = data.path.choice[stop][i];
    if (choice.locked || layer.obstacle) return true;
    return choice.family === family && (family === DENSE || choice.level === level);
  });
}

// "rank 12 of 16" or "12 % of weights kept".
function levelWords(family, level) {
  return family.unit === "rank" ? `rank ${level} of ${family.full}` : `${level}${NBSP}% of weights kept`;
}

function layerLine(data, layer, choice) {
  const q = quantityIndex(data);
  const word = QUANTITY_WORDS[QUANTITIES[q]];
  const lock = choice.locked ? " · locked" : "";
  if (layer.obstacle) return `stays dense: ${layer.obstacle}`;
  const family = familyOf(layer, choice);
  if (!family) return `dense · 100.0${NBSP}% of its ${word} · no error${lock}`;
  const cost = formCost(layer, choice, q);
  const share = layer.dense[q] ? `${sharePercent(cost, layer.dense[q])} of its ${word}` : `${word} unknown`;
  const parts = [`${levelWords(family, choice.level)} (${family.label})`, share];
  if (costsMore(layer, choice, q)) parts.push("costs more than dense");
  else if (layer.dense[q] && cost === layer.dense[q]) parts.push("saves nothing over dense");
  const { plain, output } = predicted(layer, choice);
  if (output !== null) parts.push(`predicted output error ${errorPercent(output)} (weights ${errorPercent(plain)})`);
  else if (plain !== null) {
    parts.push(`${family.bound ? "weight error at most" : "predicted weight error"} ${errorPercent(plain)}`);
  }
  return parts.join(" · ") + lock;
}

// The longest line any layer's words can take, to reserve its height: the page must not jump during a drag.
function longestLine(data) {
  const lines = data.layers.filter((layer) => !layer.obstacle).flatMap((layer) => layer.families.map((family, i) => (
    `${layer.name}: ${layerLine(data, layer, { family: i, level: family.full, locked: true })}`)));
  return lines.reduce((longest, line) => (line.length > longest.length ? line : longest), "");
}

function stripLine(data, layer, choice) {
  if (layer.obstacle) return `${layer.dense[0].toLocaleString("en-GB")} weights · stays dense: ${layer.obstacle}`;
  const family = familyOf(layer, choice) ?? layer.families[0];
  const level = choice.family === DENSE ? family.full : choice.level;
  const even = evenLevel(family, quantityIndex(data));
  const verdict = level <= even ? "saves" : "no saving";
  const weights = `${layer.dense[0].toLocaleString("en-GB")} weights`;
  return `${weights} · needs ${levelWords(family, level)} · break-even ${even} · ${verdict}`;
}

function totalsLine(data, choices) {
  const { kept, dense, past } = totals(data, choices);
  const order = [quantityIndex(data), 0, 1, 2].filter((i, at, all) => all.indexOf(i) === at);
  const share = (i) => `${sharePercent(kept[i], dense[i])} of ${QUANTITY_WORDS[QUANTITIES[i]]}`;
  const shares = order.filter((i) => dense[i]).map(share);
  if (!dense[1]) shares.push("MACs unknown");
  const verb = past === 1 ? "layer costs more than dense and counts" : "layers cost more than dense and count";
  return `whole model: ${shares.join(", ")}${past ? ` · ${past} ${verb} as dense` : ""}`;
}
