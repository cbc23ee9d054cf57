// Rank bars, part 5 of 5: the component. Builds the page elements, follows pointer and keys, talks to Python.
//
// Local state (choices, dial, primary layer, zoom, scroll) changes at once; Python hears of it once, when the pointer
// is released or 250 ms after the last key. Names are data: they reach the page through textContent and canvas text only.

const KEY_PAUSE = 250;
const views = new WeakMap();
let lastSeq = 0;

export default function rankBars({ parentElement, data, setStateValue }) {
  let view = views.get(parentElement);
  if (!view) views.set(parentElement, (view = mount(parentElement)));
  view.post = (message) => setStateValue("message", message);
  adopt(view, data);
  return () => queueMicrotask(() => {
    if (!view.root.isConnected) dispose(view, parentElement);
  });
}

function dispose(view, parentElement) {
  clearTimeout(view.timer);
  cancelAnimationFrame(view.frame);
  view.observer.disconnect();
  views.delete(parentElement);
}

// ---- state and messages

// A new revision replaces the choices, except what Python has not heard of yet; the same revision only renews the rest.
function adopt(view, data) {
  const fresh = !view.data || view.data.revision !== data.revision;
  const unsaid = [view.pending, view.drag].filter((act) => act?.subject).map((act) => describe(view, act.subject));
  if (view.data?.primary !== data.primary) view.primary = view.reported = data.primary;
  forgetOtherForms(view, data);
  view.data = data;
  for (const layer of data.layers) if (!layer.families?.length) layer.obstacle ||= "no form fits this layer";
  if (!data.layers.some((layer) => layer.name === view.primary)) view.primary = data.layers[0]?.name ?? "";
  const kept = view.choices;
  const current = (layer) => (!fresh && fits(layer, kept.get(layer.name)) ? kept.get(layer.name) : choiceOf(layer));
  view.choices = new Map(data.layers.map((layer) => [layer.name, current(layer)]));
  view.sent = view.sent.filter((message) => message.seq > (data.seen ?? Infinity));
  if (fresh) {
    view.dial = data.dial ?? 1;
    [...view.sent, ...unsaid].forEach((message) => apply(view, message));
  }
  for (const layer of data.layers) remember(view, layer);
  view.root.style.setProperty("--rb-scale", data.scale ?? 1);
  view.colours = coloursOf(view.root);
  view.formKey = null;
  invalidate(view);
}

// A layer that offers other forms than before (another mode) has no last choice to return to: indices changed meaning.
function forgetOtherForms(view, data) {
  const forms = (layer) => (layer.families ?? []).map(({ id }) => id).join();
  const before = new Map((view.data?.layers ?? []).map((layer) => [layer.name, forms(layer)]));
  for (const layer of data.layers) if (before.get(layer.name) !== forms(layer)) view.last.delete(layer.name);
}

function fits(layer, choice) {
  return Boolean(choice) && (choice.family === DENSE || choice.level <= (layer.families[choice.family]?.full ?? 0));
}

// The last low-rank or sparse choice of a layer, so that leaving "dense" returns to it.
function remember(view, layer) {
  const choice = view.choices.get(layer.name);
  if (choice.family !== DENSE) view.last.set(layer.name, { family: choice.family, level: choice.level });
}

function apply(view, message) {
  const layer = view.data.layers.find(({ name }) => name === message.layer);
  if (message.kind === "dial") {
    view.dial = message.keep;
    view.walked = view.data.path.name ?? "";
    takeStop(view.data, view.choices, nearestStop(view.data.path, message.keep));
  } else if (layer) {
    const { kind, layer: name, seq, earlier, ...change } = message;
    if (kind !== "select") view.choices.set(name, { ...view.choices.get(name), ...change });
    view.primary = name;
  }
}

// A subject is what an act changes, {kind, layer}; its message says what it is now.
function describe(view, { kind, layer }) {
  if (kind === "dial") return { kind, keep: view.dial, path: view.walked };
  const { family, level, locked } = view.choices.get(layer);
  return kind === "lock" ? { kind, layer, locked } : { kind, layer, family, level };
}

function snapshot(view, subject) {
  return JSON.stringify(subject.kind === "dial" ? [view.dial, [...view.choices]] : view.choices.get(subject.layer));
}

function send(view, message) {
  lastSeq = Math.max(Date.now(), lastSeq + 1);
  const full = { ...message, seq: lastSeq };
  if (message.layer) view.reported = message.layer;
  view.post({ ...full, earlier: view.sent });
  view.sent = [...view.sent, full].slice(-8);
  view.messages += 1;
  view.seq = lastSeq;
  invalidate(view);
}

// End of an act: one message if its subject changed, else one if another layer was chosen, else none.
function settle(view, subject, before) {
  if (subject && snapshot(view, subject) !== before) send(view, describe(view, subject));
  else if (view.primary !== view.reported) send(view, { kind: "select", layer: view.primary });
}

function flush(view) {
  const act = view.pending;
  clearTimeout(view.timer);
  view.pending = null;
  if (act) settle(view, act.subject, act.before);
}

// A change by key: settles once the keys have been quiet, or before another subject is touched.
function byKey(view, subject, change) {
  const same = view.pending && JSON.stringify(view.pending.subject) === JSON.stringify(subject);
  if (!same && view.pending?.subject) flush(view);
  if (!same) view.pending = { subject, before: subject && snapshot(view, subject) };
  change();
  clearTimeout(view.timer);
  view.timer = setTimeout(() => {
    flush(view);
    announce(view);
  }, KEY_PAUSE);
  invalidate(view);
}

function atOnce(view, subject, change) {
  flush(view);
  const before = snapshot(view, subject);
  change();
  settle(view, subject, before);
  announce(view);
  invalidate(view);
}

function setChoice(view, layer, change) {
  remember(view, layer);
  view.choices.set(layer.name, { ...view.choices.get(layer.name), ...change });
}

function editable(view, layer) {
  return view.data.view !== "strip" && !layer.obstacle && !view.choices.get(layer.name).locked;
}

function setFamily(view, layer, index) {
  const choice = view.choices.get(layer.name);
  const past = view.last.get(layer.name);
  if (index === choice.family) return undefined;
  if (index === DENSE) return setChoice(view, layer, { family: DENSE });
  const back = choice.family === DENSE && past?.family === index;
  const level = back ? past.level : levelInFamily(layer, choice, index, quantityIndex(view.data));
  return setChoice(view, layer, { family: index, level });
}

// Where the pointer stands on a level axis, as a share of full; past the top the layer turns dense.
function setShare(view, layer, share, wasDense) {
  const family = shownFamily(view, layer);
  if (share > 1.04 || (wasDense && share >= 1)) return setChoice(view, layer, { family: DENSE });
  const level = clamp(Math.round(share * family.full), 1, family.full);
  return setChoice(view, layer, { family: layer.families.indexOf(family), level });
}

// ---- pointer

function hit(view, event) {
  const box = view.canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const { plot, step, track, curves, k } = view.layout;
  const base = plot.y + plot.h;
  const near = (at, from, length, slack) => at >= from - slack && at <= from + length + slack;
  const within = (box, dx, dy) => box && near(x, box.x, box.w, dx) && near(y, box.y, box.h, dy);
  if (within(track, 0, 8)) return { kind: "track", x, y };
  if (within(curves, 14, 8)) return { kind: "cut", x, y };
  if (x < plot.x || x >= plot.x + plot.w || y < plot.y - 16 * k || y > base + 76 * k) return { kind: "", x, y };
  const index = Math.floor((x - plot.x + view.scroll) / step);
  const kind = y > base + 18 * k ? "label" : "bar";
  return index < view.data.layers.length ? { kind, index, x, y } : { kind: "", x, y };
}

function shareAt(view, spot) {
  const { plot, curves } = view.layout;
  return spot.kind === "cut" ? (spot.x - curves.x) / curves.w : (plot.y + plot.h - spot.y) / plot.h;
}

function pointerDown(view, event) {
  if (event.button !== 0 || view.drag) return;
  const spot = hit(view, event);
  if (!spot.kind || !view.data.layers.length) return;
  flush(view);
  view.canvas.setPointerCapture(event.pointerId);
  const layer = spot.index === undefined ? primaryLayer(view) : view.data.layers[spot.index];
  const act = { spot, layer, moved: false, scroll: view.scroll, primary: view.primary };
  if (spot.kind !== "track") view.primary = layer.name;
  if ((spot.kind === "bar" || spot.kind === "cut") && editable(view, layer)) {
    const choice = view.choices.get(layer.name);
    const family = shownFamily(view, layer);
    act.subject = { kind: "edit", layer: layer.name };
    act.before = snapshot(view, act.subject);
    act.choice = choice;
    const held = choice.family === DENSE ? 1 : choice.level / family.full;
    const length = spot.kind === "cut" ? view.layout.curves.w : view.layout.plot.h;
    const ahead = shareAt(view, spot) - held;
    const grabbed = spot.kind === "cut" ? Math.abs(ahead) * length <= 16 : ahead * length <= 16;
    act.offset = grabbed ? -ahead : 0; // grabbed: the bar keeps its distance; pressed in the empty part: it comes along
  }
  view.drag = act;
  view.focused = false;
  view.hover = null;
  view.tip.hidden = true;
  invalidate(view);
}

function pointerMove(view, event) {
  const act = view.drag;
  if (!act) return hover(view, event);
  if (act.dial) return undefined;
  const box = view.canvas.getBoundingClientRect();
  const spot = { kind: act.spot.kind, x: event.clientX - box.left, y: event.clientY - box.top };
  const travel = spot.kind === "bar" ? spot.y - act.spot.y : spot.x - act.spot.x;
  if (Math.abs(travel) >= 3) act.moved = true;
  if (!act.moved) return undefined;
  if (spot.kind === "track") view.scroll = act.scroll + (travel * view.layout.content) / view.layout.track.w;
  else if (act.subject) setShare(view, act.layer, shareAt(view, spot) + act.offset, act.choice.family === DENSE);
  return invalidate(view);
}

function pointerUp(view, keep) {
  const act = view.drag;
  if (!act || act.dial) return;
  view.drag = null;
  if (!keep && act.subject) view.choices.set(act.layer.name, act.choice);
  if (!keep) view.primary = act.primary;
  settle(view, act.subject, act.before);
  announce(view);
  invalidate(view);
}

function hover(view, event) {
  const spot = hit(view, event);
  const layer = spot.kind === "cut" ? primaryLayer(view) : view.data.layers[spot.index];
  const free = layer && editable(view, layer);
  const cursors = { bar: free ? "ns-resize" : "pointer", cut: free ? "ew-resize" : "default", label: "pointer" };
  view.canvas.style.cursor = cursors[spot.kind] ?? "default";
  view.hover = spot.index ?? null;
  view.tip.hidden = spot.index === undefined || layer.name === view.primary;
  if (!view.tip.hidden) {
    view.tip.textContent = `${layer.name}: ${sentence(view, layer)}`;
    view.tip.style.left = `${clamp(spot.x + 14, 0, Math.max(0, view.layout.width - view.tip.offsetWidth - 4))}px`;
    view.tip.style.top = `${spot.y + 18}px`;
  }
  invalidate(view);
}

function leave(view) {
  view.hover = null;
  view.tip.hidden = true;
  invalidate(view);
}

// ---- keyboard

function keyDown(view, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !view.data.layers.length) return;
  view.focused = true;
  const layer = primaryLayer(view);
  const big = event.shiftKey ? 8 : 1;
  const steps = { ArrowUp: big, ArrowDown: -big, PageUp: 8, PageDown: -8, Home: -Infinity, End: Infinity };
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "Escape" && view.drag) pointerUp(view, false);
  else if (key === "ArrowLeft" || key === "ArrowRight") byKey(view, null, () => move(view, key === "ArrowLeft" ? -1 : 1));
  else if (key === "+" || key === "=") setZoom(view, 1.4);
  else if (key === "-") setZoom(view, 1 / 1.4);
  else if (view.data.view === "strip") return;
  else if (key === "l") byKey(view, { kind: "lock", layer: layer.name }, () => toggleLock(view, layer));
  else if (key in steps) keyEdit(view, layer, () => stepLevel(view, layer, steps[key]));
  else if (key === "f") keyEdit(view, layer, () => nextFamily(view, layer));
  else if (key === "d") keyEdit(view, layer, () => toggleDense(view, layer));
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function keyEdit(view, layer, change) {
  if (editable(view, layer)) byKey(view, { kind: "edit", layer: layer.name }, change);
  else announce(view);
}

function move(view, by) {
  const layers = view.data.layers;
  const index = clamp(layers.findIndex(({ name }) => name === view.primary) + by, 0, layers.length - 1);
  view.primary = layers[index].name;
  const { step, plot } = view.layout;
  view.scroll = clamp(view.scroll, (index + 1) * step - plot.w, index * step);
}

function stepLevel(view, layer, by) {
  const choice = view.choices.get(layer.name);
  if (choice.family === DENSE) return by < 0 && toggleDense(view, layer);
  return setChoice(view, layer, { level: clamp(choice.level + by, 1, layer.families[choice.family].full) });
}

function nextFamily(view, layer) {
  setFamily(view, layer, (view.choices.get(layer.name).family + 1) % layer.families.length);
}

function toggleDense(view, layer) {
  const choice = view.choices.get(layer.name);
  setFamily(view, layer, choice.family === DENSE ? view.last.get(layer.name)?.family ?? 0 : DENSE);
}

function toggleLock(view, layer) {
  const choice = view.choices.get(layer.name);
  if (!layer.obstacle) view.choices.set(layer.name, { ...choice, locked: !choice.locked });
}

// ---- zoom, picture, words

// Zooms the strip about the primary layer; 1 is "all layers, at least 12 px each".
function setZoom(view, factor) {
  const index = view.data.layers.findIndex(({ name }) => name === view.primary);
  const before = view.layout.step;
  view.zoom = clamp(view.zoom * factor, 1, 16);
  const after = layoutOf(view, view.layout.width).step;
  view.scroll += (index + 0.5) * (after - before);
  invalidate(view);
}

function savePicture(view) {
  const { layout } = view;
  const head = 58 * layout.k;
  const canvas = document.createElement("canvas");
  canvas.width = layout.width * 2;
  canvas.height = (layout.height + head) * 2;
  const ctx = canvas.getContext("2d");
  ctx.scale(2, 2);
  ctx.fillStyle = view.colours.back;
  ctx.fillRect(0, 0, layout.width, head);
  ctx.fillStyle = view.colours.text;
  [view.line.textContent, view.total.textContent].forEach((words, i) => {
    ctx.font = `${i ? 400 : 600} ${13 * layout.k}px ${view.colours.font}`;
    ctx.fillText(words, 8, (20 + 20 * i) * layout.k, layout.width - 16);
  });
  ctx.translate(0, head);
  paint(ctx, { ...view, hover: null, focused: false }, layout, 2);
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = view.data.filename || "rank-bars.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

function sentence(view, layer) {
  const choice = view.choices.get(layer.name);
  return view.data.view === "strip" ? stripLine(view.data, layer, choice) : layerLine(view.data, layer, choice);
}

function announce(view) {
  if (!view.data.layers.length) return;
  view.live.textContent = `${primaryLayer(view).name}: ${sentence(view, primaryLayer(view))}`;
}
