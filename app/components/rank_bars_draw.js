// Rank bars, part 2 of 5: layout and drawing on one canvas. Reads the view, changes nothing but pixels.
//
// Lengths are CSS pixels; every text size and margin is multiplied by data.scale (1, or 1.4 in teaching mode).

// Light and dark categorical colours, each at least 3:1 on its background and told apart under colour blindness.
const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
const DARK = ["#56b4e9", "#e69f00", "#00c08b", "#f29bc6"];
const FAMILY_FONT = '"Source Sans", "Source Sans Pro", system-ui, sans-serif';
const NARROW = 720;

function rgbOf(css) {
  const probe = rgbOf.context ??= document.createElement("canvas").getContext("2d");
  probe.fillStyle = "#000000";
  probe.fillStyle = css;
  const hex = probe.fillStyle;
  if (hex.startsWith("#")) return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return hex.match(/[\d.]+/g).slice(0, 3).map(Number);
}

function mix(front, back, share) {
  const [a, b] = [rgbOf(front), rgbOf(back)];
  return `rgb(${a.map((value, i) => Math.round(value * share + b[i] * (1 - share))).join(",")})`;
}

// Relative luminance and contrast ratio as in WCAG 2.
function luminance(css) {
  const [r, g, b] = rgbOf(css).map((v) => (v / 255 <= 0.04045 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

// The theme's own categorical colours where all four stand out, else the built-in palette for light or dark.
function coloursOf(element) {
  const style = getComputedStyle(element);
  const read = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
  const back = read("--st-background-color", "#ffffff");
  const text = read("--st-text-color", "#31333f");
  const theme = read("--st-chart-categorical-colors", "").split(",").filter(Boolean).slice(0, 4);
  const usable = theme.length === 4 && theme.every((colour) => contrast(colour, back) >= 3);
  const palette = usable ? theme : luminance(back) > 0.4 ? LIGHT : DARK;
  return {
    back, text, palette, font: read("--st-font", FAMILY_FONT),
    muted: mix(text, back, 0.78), grid: mix(text, back, 0.14), bar: mix(text, back, 0.52),
    accent: palette[0], warn: palette[1], sigma: palette[2],
    saves: mix(palette[0], back, 0.12), hatch: mix(palette[1], back, 0.5), hatchBack: mix(palette[1], back, 0.07),
  };
}

// Rectangles of both panels, the bar strip's pitch and how far it can scroll.
function layoutOf(view, width) {
  const { data, zoom } = view;
  const k = data.scale ?? 1;
  const strip = data.view === "strip";
  const narrow = width < NARROW;
  const leftWidth = strip || narrow ? width : Math.round(width * 0.62);
  const barsHeight = narrow && !strip ? Math.round(data.height * 0.95) : data.height;
  const twoRows = leftWidth < (strip ? 580 : 460) * k;
  const top = (twoRows ? 46 : 28) * k;
  const plot = { x: 46 * k, y: top, w: leftWidth - 46 * k - 10 };
  const finest = matchMedia("(pointer: coarse)").matches ? 24 : 12;
  const step = Math.min(Math.max(finest, plot.w / data.layers.length) * zoom, Math.max(plot.w / 3, finest));
  const content = step * data.layers.length;
  const scrollable = content > plot.w + 0.5;
  plot.h = barsHeight - top - (76 + (scrollable ? 22 : 0)) * k;
  const track = scrollable ? { x: plot.x, y: barsHeight - 14 * k, w: plot.w, h: 8 * k } : null;
  const right = narrow
    ? { x: 50 * k, y: barsHeight + 40 * k, w: width - 50 * k - 16, h: Math.round(data.height * 0.75) }
    : { x: leftWidth + 58 * k, y: 28 * k, w: width - leftWidth - 58 * k - 12, h: barsHeight - 28 * k - 48 * k };
  const height = strip || !narrow ? barsHeight : right.y + right.h + 48 * k;
  const maxScroll = Math.max(0, content - plot.w);
  return { k, width, height, plot, step, content, track, twoRows, curves: strip ? null : right, maxScroll };
}

function hatchOf(ctx, colour, back, ratio) {
  const size = 7;
  const tile = document.createElement("canvas");
  tile.width = tile.height = Math.round(size * ratio);
  const pen = tile.getContext("2d");
  pen.scale(tile.width / size, tile.width / size);
  pen.fillStyle = back;
  pen.fillRect(0, 0, size, size);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.1;
  for (const shift of [-size, 0, size]) {
    pen.beginPath();
    pen.moveTo(shift - 1, size + 1);
    pen.lineTo(shift + size + 1, -1);
    pen.stroke();
  }
  const pattern = ctx.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(size / tile.width));
  return pattern;
}

function paint(ctx, view, layout, ratio) {
  const colours = view.colours;
  const pen = { ctx, view, layout, colours, k: layout.k };
  pen.hatch = hatchOf(ctx, colours.hatch, colours.hatchBack, ratio);
  pen.past = hatchOf(ctx, colours.back, colours.warn, ratio);
  pen.blocked = hatchOf(ctx, colours.bar, colours.back, ratio);
  ctx.fillStyle = colours.back;
  ctx.fillRect(0, 0, layout.width, layout.height);
  ctx.lineJoin = "round";
  paintLegend(pen);
  paintGrid(pen);
  paintBars(pen);
  paintLayerLabels(pen);
  if (layout.track) paintTrack(pen);
  if (layout.curves) paintCurves(pen);
}

function setFont(pen, size, weight = 400) {
  pen.ctx.font = `${weight} ${size * pen.k}px ${pen.colours.font}`;
}

function write(pen, words, x, y, { colour = pen.colours.muted, align = "left", base = "middle", halo = false } = {}) {
  const { ctx } = pen;
  ctx.textAlign = align;
  ctx.textBaseline = base;
  if (halo) {
    ctx.strokeStyle = pen.colours.back;
    ctx.lineWidth = 4;
    ctx.strokeText(words, x, y);
  }
  ctx.fillStyle = colour;
  ctx.fillText(words, x, y);
}

function stroke(pen, points, colour, width = 1, dash = []) {
  const { ctx } = pen;
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.setLineDash(dash);
  ctx.beginPath();
  points.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.stroke();
  ctx.setLineDash([]);
}

// Longest tail of words that fits; the end of a layer's name says most.
function shorten(ctx, words, width) {
  if (ctx.measureText(words).width <= width) return words;
  let tail = words.slice(1);
  while (tail.length > 1 && ctx.measureText(`…${tail}`).width > width) tail = tail.slice(1);
  return `…${tail}`;
}

function paintLegend(pen) {
  const { ctx, layout: { plot, twoRows, k }, colours, view: { data } } = pen;
  const strip = data.view === "strip";
  const unit = { rank: "rank kept", sparsity: "weights kept", both: "kept" }[data.mode];
  setFont(pen, 12, 600);
  const title = strip ? "weights (log)" : `${unit}, % of full`;
  write(pen, title, 4, 12 * k, { colour: colours.text });
  setFont(pen, 11.5);
  const items = strip
    ? [["rank needed", "fill"], ["more than break-even", "past"], ["break-even", "even"], ["no saving possible", "blocked"]]
    : [["saves", "saves"], ["costs more", "hatch"], ["break-even", "even"], ["dense", "dense"]];
  const wide = items.reduce((sum, [words]) => sum + ctx.measureText(words).width + 34 * k, 0);
  let x = twoRows ? 4 : plot.x + plot.w - wide + 14 * k;
  const y = (twoRows ? 31 : 12) * k;
  for (const [words, kind] of items) {
    paintSwatch(pen, kind, x, y - 6 * k, 14 * k, 12 * k);
    write(pen, words, x + 19 * k, y);
    x += ctx.measureText(words).width + 34 * k;
  }
}

function paintSwatch(pen, kind, x, y, w, h) {
  const { ctx, colours } = pen;
  if (kind === "even") return stroke(pen, [[x, y + h / 2], [x + w, y + h / 2]], colours.text, 2);
  if (kind !== "dense") {
    const { hatch, past, blocked } = pen;
    ctx.fillStyle = { saves: colours.saves, fill: colours.bar, hatch, past, blocked }[kind];
    ctx.fillRect(x, y, w, h);
  }
  ctx.strokeStyle = kind === "dense" ? colours.muted : colours.grid;
  ctx.lineWidth = kind === "dense" ? 1.5 : 1;
  ctx.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
  return undefined;
}

// Decades of the strip's height axis, from below the smallest layer to the largest.
function weightScale(data) {
  const sizes = data.layers.map((layer) => Math.max(1, layer.dense[0]));
  const low = Math.floor(Math.log10(Math.min(...sizes)));
  const high = Math.max(Math.log10(Math.max(...sizes)), low + 1);
  return { low, high, share: (weights) => clamp((Math.log10(Math.max(1, weights)) - low) / (high - low), 0.04, 1) };
}

function paintGrid(pen) {
  const { layout: { plot, k }, colours, view: { data } } = pen;
  const rows = [];
  if (data.view === "strip") {
    const scale = weightScale(data);
    for (let power = scale.low; power <= scale.high; power += 1) {
      const words = power < 3 ? `${10 ** power}` : power < 6 ? `${10 ** (power - 3)}k` : `${10 ** (power - 6)}M`;
      rows.push([(power - scale.low) / (scale.high - scale.low), words]);
    }
  } else {
    for (const share of [0, 0.25, 0.5, 0.75, 1]) rows.push([share, `${100 * share}${NBSP}%`]);
  }
  setFont(pen, 11.5);
  for (const [share, words] of rows) {
    const y = Math.round(plot.y + plot.h * (1 - share)) + 0.5;
    stroke(pen, [[plot.x, y], [plot.x + plot.w, y]], colours.grid);
    write(pen, words, plot.x - 6 * k, y, { align: "right" });
  }
}

// Slots in sight as [index, left edge].
function slots({ view, layout }) {
  const { plot, step } = layout;
  const first = Math.max(0, Math.floor(view.scroll / step));
  const last = Math.min(view.data.layers.length - 1, Math.floor((view.scroll + plot.w) / step));
  return Array.from({ length: last - first + 1 }, (_, i) => [first + i, plot.x + (first + i) * step - view.scroll]);
}

function paintBars(pen) {
  const { ctx, layout: { plot, step, k }, view } = pen;
  ctx.save();
  ctx.beginPath();
  ctx.rect(plot.x, 0, plot.w, plot.y + plot.h + 20 * k);
  ctx.clip();
  const width = clamp(step * 0.74, 7, 46 * k);
  for (const [i, left] of slots(pen)) paintBar(pen, i, left + (step - width) / 2, width);
  ctx.restore();
  stroke(pen, [[plot.x, plot.y + plot.h + 0.5], [plot.x + plot.w, plot.y + plot.h + 0.5]], pen.colours.muted);
  if (view.focused) paintFocus(pen, width);
}

function paintBar(pen, i, x, width) {
  const { ctx, layout: { plot, k }, colours, view } = pen;
  const layer = view.data.layers[i];
  const choice = view.choices.get(layer.name);
  const q = quantityIndex(view.data);
  const chosen = layer.name === view.primary;
  const strip = view.data.view === "strip";
  const whole = strip ? plot.h * weightScale(view.data).share(layer.dense[0]) : plot.h;
  const base = plot.y + plot.h;
  if (layer.obstacle) {
    const thin = Math.max(4, width * 0.36);
    ctx.fillStyle = pen.blocked;
    ctx.fillRect(x + (width - thin) / 2, base - whole, thin, whole);
    ctx.strokeStyle = chosen ? colours.accent : colours.bar;
    ctx.lineWidth = chosen ? 2 : 1;
    ctx.strokeRect(x + (width - thin) / 2, base - whole, thin, whole);
    return;
  }
  const family = familyOf(layer, choice) ?? layer.families[view.last.get(layer.name)?.family ?? 0];
  const even = evenLevel(family, q) / family.full;
  const dense = choice.family === DENSE;
  const share = dense ? 1 : choice.level / family.full;
  ctx.fillStyle = colours.saves;
  ctx.fillRect(x, base - whole * even, width, whole * even);
  ctx.fillStyle = pen.hatch;
  ctx.fillRect(x, base - whole, width, whole * (1 - even));
  const fill = chosen ? colours.accent : colours.bar;
  if (dense) {
    ctx.fillStyle = colours.back;
    ctx.fillRect(x, base - whole, width, whole);
    ctx.strokeStyle = fill;
    ctx.lineWidth = chosen ? 2.5 : 1.5;
    ctx.strokeRect(x + 1, base - whole + 1, width - 2, whole - 1);
  } else {
    const past = strip ? choice.level > evenLevel(family, q) : costsMore(layer, choice, q);
    ctx.fillStyle = past ? pen.past : fill;
    ctx.fillRect(x, base - whole * share, width, whole * share);
    if (past) {
      ctx.strokeStyle = chosen ? colours.accent : colours.warn;
      ctx.lineWidth = chosen ? 2.5 : 1;
      ctx.strokeRect(x + 1, base - whole * share + 1, width - 2, whole * share - 1);
    }
  }
  const mark = Math.round(base - whole * even) + 0.5;
  stroke(pen, [[x - 2, mark], [x + width + 2, mark]], colours.back, 4);
  stroke(pen, [[x - 2, mark], [x + width + 2, mark]], colours.text, 2);
  if (choice.locked) paintLock(pen, x + width / 2, base + 10 * k);
  if (strip || (!chosen && view.hover !== i)) return;
  paintHandle(pen, x, width, base - whole * share, dense ? "dense" : String(choice.level), fill);
}

function paintHandle(pen, x, width, y, words, fill) {
  const { ctx, colours, k, layout: { plot } } = pen;
  const grip = clamp(width * 0.5, 5, 18);
  ctx.fillStyle = colours.back;
  ctx.strokeStyle = fill;
  ctx.lineWidth = 2;
  ctx.beginPath();
  ctx.roundRect(x + (width - grip) / 2, y - 3.5, grip, 7, 3.5);
  ctx.fill();
  ctx.stroke();
  setFont(pen, 12, 700);
  const above = y - 13 * k > plot.y - 4 ? y - 13 * k : y + 15 * k;
  write(pen, words, x + width / 2, above, { colour: colours.text, align: "center", halo: true });
}

function paintLock(pen, x, y) {
  const { ctx, colours, k } = pen;
  ctx.strokeStyle = colours.text;
  ctx.fillStyle = colours.text;
  ctx.lineWidth = 1.5 * k;
  ctx.beginPath();
  ctx.arc(x, y - 2 * k, 2.6 * k, Math.PI, 0);
  ctx.stroke();
  ctx.fillRect(x - 4 * k, y - 2 * k, 8 * k, 6.5 * k);
}

function paintFocus(pen, width) {
  const { ctx, layout: { plot, step }, colours, view } = pen;
  const i = view.data.layers.findIndex((layer) => layer.name === view.primary);
  const x = plot.x + i * step - view.scroll + (step - width) / 2;
  if (x < plot.x - step || x > plot.x + plot.w) return;
  ctx.strokeStyle = colours.text;
  ctx.lineWidth = 2;
  ctx.strokeRect(x - 3, plot.y - 4, width + 6, plot.h + 7);
}

function paintLayerLabels(pen) {
  const { ctx, layout: { plot, step, k }, colours, view } = pen;
  const layers = view.data.layers;
  const chosen = layers.findIndex((layer) => layer.name === view.primary);
  const every = Math.max(1, Math.ceil((15 * k) / step));
  const room = 82 * k;
  for (const [i, left] of slots(pen)) {
    const shown = i === chosen || i === view.hover || (i % every === 0 && Math.abs(i - chosen) >= every);
    const x = left + step / 2;
    if (!shown || x < plot.x || x > plot.x + plot.w) continue;
    setFont(pen, 11.5, i === chosen ? 700 : 400);
    ctx.save();
    ctx.translate(x + 4 * k, plot.y + plot.h + 19 * k);
    ctx.rotate(-Math.PI / 4);
    const words = shorten(ctx, layers[i].label, Math.min(room, (x - 4) * Math.SQRT2));
    write(pen, words, 0, 0, { align: "right", colour: i === chosen ? colours.text : colours.muted });
    ctx.restore();
  }
}

function paintTrack(pen) {
  const { ctx, layout: { track, plot, content }, colours, view } = pen;
  ctx.fillStyle = colours.grid;
  ctx.fillRect(track.x, track.y, track.w, track.h);
  ctx.fillStyle = colours.bar;
  ctx.fillRect(track.x + (view.scroll / content) * track.w, track.y, Math.max(24, (plot.w / content) * track.w), track.h);
}
