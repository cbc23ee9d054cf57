// Rank bars, part 4 of 5: the elements around the canvas, and bringing everything up to date once a frame.

const STRIP_HELP = "Click a bar, or use ← and →, to choose a layer.";
const TUNE_HELP = "Drag a bar, or the cut on its curves; past the top is dense. "
  + "Keys: ← → layer, ↑ ↓ level (Shift: 8), L lock, F form, D dense.";

function element(parent, tag, className = "", words = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = words;
  parent.append(node);
  return node;
}

function button(parent, words, name, onClick) {
  const node = element(parent, "button", "rb-button", words);
  node.type = "button";
  if (name) node.setAttribute("aria-label", name);
  node.addEventListener("click", onClick);
  return node;
}

function mount(parentElement) {
  const root = element(parentElement, "div", "rb");
  const view = {
    root, data: null, choices: new Map(), last: new Map(), primary: "", reported: "", dial: 1, walked: "", zoom: 1, scroll: 0,
    sent: [], pending: null, drag: null, hover: null, focused: false, messages: 0, seq: 0, frame: 0, timer: 0,
  };
  mountDial(view);
  const head = element(root, "div", "rb-head");
  view.line = element(head, "p", "rb-line");
  view.controls = element(head, "div", "rb-controls");
  mountControls(view);
  view.total = element(root, "p", "rb-total");
  mountCanvas(view);
  const foot = element(root, "div", "rb-foot");
  view.help = element(foot, "p", "rb-help");
  view.help.id = "rb-help";
  view.zoomButtons = element(foot, "span", "rb-zoom");
  button(view.zoomButtons, "−", "Zoom bars out", () => setZoom(view, 1 / 1.4));
  button(view.zoomButtons, "+", "Zoom bars in", () => setZoom(view, 1.4));
  button(foot, "Download picture", "", () => savePicture(view));
  view.live = element(root, "div", "rb-live");
  view.live.setAttribute("aria-live", "polite");
  return view;
}

function mountDial(view) {
  const label = element(view.root, "label", "rb-dial");
  view.dialWords = element(label, "span", "rb-dial-words");
  const input = element(label, "input");
  input.type = "range";
  Object.assign(view, { dialBox: label, input });
  const subject = { kind: "dial" };
  const take = () => apply(view, { kind: "dial", keep: view.data.path.keep[Number(input.value)] });
  input.addEventListener("pointerdown", () => {
    flush(view);
    view.drag = { subject, before: snapshot(view, subject), dial: true };
  });
  input.addEventListener("input", () => {
    if (!view.drag) return byKey(view, subject, take);
    take();
    return invalidate(view);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    input.addEventListener(end, () => {
      const act = view.drag;
      if (!act?.dial) return;
      view.drag = null;
      settle(view, act.subject, act.before);
      invalidate(view);
    });
  }
}

function mountControls(view) {
  view.form = element(view.controls, "select", "rb-button");
  view.form.setAttribute("aria-label", "Form of this layer");
  view.form.addEventListener("change", () => {
    const layer = primaryLayer(view);
    atOnce(view, { kind: "edit", layer: layer.name }, () => setFamily(view, layer, Number(view.form.value)));
  });
  view.form.addEventListener("keydown", (event) => event.stopPropagation());
  view.lock = button(view.controls, "Lock", "", () => {
    const layer = primaryLayer(view);
    atOnce(view, { kind: "lock", layer: layer.name }, () => toggleLock(view, layer));
  });
}

function mountCanvas(view) {
  const stage = element(view.root, "div", "rb-stage");
  const canvas = element(stage, "canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-describedby", "rb-help");
  view.tip = element(stage, "div", "rb-tip");
  view.tip.hidden = true;
  Object.assign(view, { stage, canvas, ctx: canvas.getContext("2d") });
  canvas.addEventListener("pointerdown", (event) => pointerDown(view, event));
  canvas.addEventListener("pointermove", (event) => pointerMove(view, event));
  canvas.addEventListener("pointerup", () => pointerUp(view, true));
  canvas.addEventListener("pointercancel", () => pointerUp(view, false));
  canvas.addEventListener("pointerleave", () => leave(view));
  canvas.addEventListener("keydown", (event) => keyDown(view, event));
  canvas.addEventListener("focus", () => {
    view.focused = canvas.matches(":focus-visible");
    announce(view);
    invalidate(view);
  });
  canvas.addEventListener("blur", () => {
    view.focused = false;
    flush(view);
    invalidate(view);
  });
  canvas.addEventListener("wheel", (event) => wheel(view, event), { passive: false });
  // A finger on a bar or the cut drags it; anywhere else it scrolls the page.
  canvas.addEventListener("touchstart", (event) => {
    if (["bar", "cut", "track"].includes(hit(view, event.touches[0]).kind)) event.preventDefault();
  }, { passive: false });
  view.observer = new ResizeObserver(() => invalidate(view));
  view.observer.observe(stage);
}

function wheel(view, event) {
  const sideways = event.shiftKey ? event.deltaY : event.deltaX;
  if (event.ctrlKey) setZoom(view, event.deltaY < 0 ? 1.15 : 1 / 1.15);
  else if (view.layout.track && sideways) view.scroll += sideways;
  else return;
  event.preventDefault();
  invalidate(view);
}

function invalidate(view) {
  if (!view.frame) view.frame = requestAnimationFrame(() => refresh(view));
}

function refresh(view) {
  view.frame = 0;
  const width = view.stage.clientWidth;
  if (!view.data || width < 40) return;
  view.layout = layoutOf(view, width);
  view.scroll = clamp(view.scroll, 0, view.layout.maxScroll);
  const ratio = window.devicePixelRatio || 1;
  const size = [Math.round(width * ratio), Math.round(view.layout.height * ratio)];
  if (view.canvas.width !== size[0] || view.canvas.height !== size[1]) {
    [view.canvas.width, view.canvas.height] = size;
    view.canvas.style.height = `${view.layout.height}px`;
  }
  view.ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (view.data.layers.length) paint(view.ctx, view, view.layout, ratio);
  refreshWords(view);
  refreshHooks(view);
}

function say(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

// Reserve the height of the longest words, once per width and data, so that a drag never moves the canvas.
function reserveLines(view) {
  const key = [view.layout.width, view.data.scale, view.data.quantity, view.data.layers.length, view.data.mode].join();
  if (key === view.lineKey || view.data.view === "strip" || view.drag) return;
  view.lineKey = key;
  const warning = " · 10 layers cost more than dense and count as dense";
  const { hidden } = view.controls;
  view.controls.hidden = false; // they take the same room for every layer that has them
  const longest = [[view.line, longestLine(view.data)], [view.total, totalsLine(view.data, view.choices) + warning]];
  for (const [node, words] of longest) {
    node.style.minHeight = "0";
    node.textContent = words;
    node.style.minHeight = `${node.offsetHeight}px`;
  }
  view.controls.hidden = hidden;
}

function refreshWords(view) {
  const { data } = view;
  reserveLines(view);
  const strip = data.view === "strip";
  const layer = primaryLayer(view);
  const choice = layer && view.choices.get(layer.name);
  say(view.line, layer ? `${layer.name}: ${sentence(view, layer)}` : "No layers to show.");
  say(view.total, strip || !layer ? "" : totalsLine(data, view.choices));
  say(view.help, strip ? STRIP_HELP : TUNE_HELP);
  view.canvas.setAttribute("aria-label", strip ? "Layers, one bar each" : "Layer bars, one rank or share kept each");
  view.total.hidden = strip;
  view.controls.hidden = strip || !layer || Boolean(layer.obstacle);
  view.zoomButtons.hidden = view.layout.plot.w / data.layers.length >= 24;
  if (!view.controls.hidden) refreshControls(view, layer, choice);
  refreshDial(view, !strip && Boolean(data.path?.keep?.length));
}

function refreshControls(view, layer, choice) {
  const key = JSON.stringify([layer.name, layer.families.map(({ label }) => label)]);
  if (key !== view.formKey) {
    view.formKey = key;
    view.form.replaceChildren();
    layer.families.forEach(({ label }, i) => {
      element(view.form, "option", "", label).value = String(i);
    });
    element(view.form, "option", "", "dense").value = String(DENSE);
  }
  view.form.value = String(choice.family);
  view.form.disabled = choice.locked;
  say(view.lock, choice.locked ? "Unlock" : "Lock");
  view.lock.setAttribute("aria-pressed", String(choice.locked));
}

function refreshDial(view, shown) {
  view.dialBox.hidden = !shown;
  if (!shown) return;
  const { data, input } = view;
  const asked = nearestStop(data.path, view.dial);
  const followed = matchesStop(data, view.choices, asked);
  const q = quantityIndex(data);
  const { kept, dense } = totals(data, view.choices);
  const stop = followed ? asked : nearestStop(data.path, kept[q] / (dense[q] || 1));
  const percent = followed ? `${Number((100 * data.path.keep[stop]).toFixed(1))}${NBSP}%` : sharePercent(kept[q], dense[q]);
  const words = `Keep${followed ? "" : "s"} ${percent} of ${QUANTITY_WORDS[QUANTITIES[q]]}${followed ? "" : " (edited)"}`;
  input.max = String(data.path.keep.length - 1);
  if (input.value !== String(stop)) input.value = String(stop);
  input.style.setProperty("--rb-filled", `${(100 * stop) / Math.max(1, data.path.keep.length - 1)}%`);
  input.setAttribute("aria-valuetext", words);
  say(view.dialWords, words);
}

// Attributes that tests read; nothing in the page depends on them.
function refreshHooks(view) {
  const { root, layout: { plot, step, curves } } = view;
  const layer = primaryLayer(view);
  const choice = layer ? view.choices.get(layer.name) : { level: 0, family: DENSE, locked: false };
  const hooks = {
    primary: view.primary, level: choice.level, family: choice.family, locked: choice.locked, dial: view.dial,
    messages: view.messages, seq: view.seq, revision: view.data.revision, held: Boolean(view.drag),
    bars: [plot.x, plot.y, plot.w, plot.h, step, view.scroll].map((value) => value.toFixed(1)).join(" "),
    curves: curves ? [curves.x, curves.y, curves.w, curves.h].map((value) => value.toFixed(1)).join(" ") : "",
  };
  for (const [name, value] of Object.entries(hooks)) {
    if (root.dataset[name] !== String(value)) root.dataset[name] = String(value);
  }
}
