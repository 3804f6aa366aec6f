// The page: which state is shown, which number is explained, buttons and keys.

const state = {
  n: 0, // the example of the batch
  palette: "colour",
  each: false, // every tile in colours of its own
  rgb: true,
  lit: null, // what is outlined: {marks, number, pair}
  kernels: { by: null, at: 0 },
  by: (shape) => (state.kernels.by && (state.kernels.by !== "all" || shape[2] <= 8) ? state.kernels.by : shape[2] <= 8 ? "all" : "k"),
  at: (shape) => Math.min(state.kernels.at, shape[state.by(shape) === "c" ? 2 : 3] - 1),
  setBy: (by) => (state.kernels.by = by),
  setAt: (at) => (state.kernels.at = at),
};
const now = { step: 0, number: null, trail: [], turn: 0 };
const element = (id) => document.getElementById(id);
const said = (text) => (element("said").textContent = text);

const batch = Math.max(...told.ends.map((end) => end.roles.y.shape[0]));
const example = make("b");
{
  const turn = (by) => () => {
    state.n = (state.n + by + batch) % batch;
    layer.refresh(false);
  };
  const select = make("select", {
    "aria-label": "colours",
    onchange: () => {
      state.palette = select.value;
      layer.refresh(false);
    },
  }, make("option", { value: "colour", text: "blue to orange" }), make("option", { value: "grey", text: "black to white" }));
  if (batch > 1) {
    element("tools").append(make("span", { role: "group", "aria-label": "example of the batch" }, "example n = ", example, ` of 0 to ${batch - 1} `,
      make("button", { type: "button", "aria-label": "example before", onclick: turn(-1), text: "\u25c2" }),
      make("button", { type: "button", "aria-label": "next example", onclick: turn(1), text: "\u25b8" })));
  }
  const each = make("input", {
    type: "checkbox",
    onchange: () => {
      state.each = each.checked;
      layer.refresh(false);
    },
  });
  element("tools").append(select, make("label", { title: "full colour is the largest number of each tile, not of the whole tensor" }, each, " tile by tile"));
}

const bar = document.querySelector(".top");
new ResizeObserver(() => document.documentElement.style.setProperty("--top", `${bar.offsetHeight}px`)).observe(bar);

const strip = new Strip(element("strip"), (step) => go({ step }));
const layer = new LayerView(element("layer"), {
  state,
  said,
  changed: () => (example.textContent = state.n),
  choose: (letter, flat, { chain = null, shared = false }) => {
    const role = roleOf(steps[now.step], { letter, chain, shared });
    go({ step: now.step, number: { letter, chain, shared, index: role ? unravel(flat, role.shape) : [] } }, { still: true, clicked: true });
  },
});
const panel = new Panel(element("panel"), { follow, point, back, jump });

// The call (or the end) that a number of a step belongs to, and its tensor.
function ownerOf(step, { chain }) {
  if (!step.call) return step.end;
  return chain && chain !== step.chain ? callsOf(step.call).find((call) => call.chain === chain) : step.call;
}

// The loss of a chain, and the total of the step, are no tensors.
const isLoss = ({ letter }) => letter === "loss" || letter === "total";

function roleOf(step, number) {
  if (isLoss(number)) return null;
  const owner = ownerOf(step, number);
  return number.shared ? owner.sums[number.letter] : owner.roles[number.letter];
}

// The number that is explained where none was chosen: a large one of what this state makes.
function usual(step) {
  if (!step.call) return { letter: "loss", index: [], chain: null, shared: false };
  const letter = step.go === "forward" ? "y" : "dw" in step.call.roles ? "dw" : "dx";
  return peak(step, letter);
}

function peak(step, letter) {
  const shared = Boolean(step.call && letter in step.call.sums);
  const number = { letter, chain: null, shared };
  const role = roleOf(step, number);
  return { ...number, index: unravel(role.source.stats.peak ?? 0, role.shape) };
}

// To a state, and there to a number. still: the state stays, only the number is another.
function go({ step, number = null }, { trail = [], ...how } = {}) {
  history.pushState({ trail }, "", address(step, number));
  open({ step, number, trail }, how);
}

// clicked: in a picture, which then need not be looked for.
async function open({ step, number, trail = [] }, { still = false, focus = false, clicked = false } = {}) {
  const turn = ++now.turn;
  const same = still && step === now.step && layer.figures.length;
  Object.assign(now, { step, number, trail });
  const { go: way, call, end } = steps[step];
  const shown = number ?? usual(steps[step]);
  aim(steps[step], shown);
  state.lit = { number: { ...shown, flat: flatOf(steps[step], shown) }, marks: null, pair: null };
  if (!same) {
    strip.show(step);
    layer.show(steps[step]);
    const above = document.querySelector("header").offsetHeight;
    if (turn > 1 && window.scrollY > above) window.scrollTo(0, above);
    const where = call ? call.label : endLabel(end);
    element("where").textContent = `${step + 1} of ${steps.length}`;
    element("before").disabled = element("first").disabled = step === 0;
    element("next").disabled = element("last").disabled = step === steps.length - 1;
    document.title = `${where} ${way === "loss" ? "" : way === "back" ? "backward" : "forward"}`.trim();
    said(`${way === "back" ? "backward" : way} ${where}, state ${step + 1} of ${steps.length}`);
  }
  const spec = await explained(steps[step], shown);
  if (turn !== now.turn) return;
  state.lit.marks = spec.marks;
  layer.refresh(true);
  panel.show({ ...spec, trail, jumpText: isLoss(shown) ? spec.sum.name : nameOf(shown.letter, shown.index) });
  if (focus) {
    element("number").focus({ preventScroll: true });
    said(`${spec.title} = ${show(spec.sum.value, 6)}`);
  }
  if (number && !clicked) layer.seek();
  await Promise.all(layer.figures.map(({ picture }) => picture.ready));
  if (turn !== now.turn) return;
  document.body.dataset.state = location.hash || "#";
  document.body.dataset.step = step;
  document.body.dataset.shown ??= Math.round(performance.now());
}

// The pictures turn to the example and the kernels of which the number is one.
function aim(step, { letter, index }) {
  const role = (step.call ?? step.end).roles[letter];
  if (["x", "y", "dx", "dy", "target"].includes(letter)) state.n = index.length > 1 ? index[0] : state.n;
  if (!step.call || step.call.roles.w?.shape.length !== 4) return;
  const few = step.call.roles.w.shape[2] <= 8;
  if (few && (state.kernels.by ?? "all") === "all") return;
  if (letter === "y") Object.assign(state.kernels, { by: few ? state.kernels.by : "k", at: index[3] });
  else if (letter === "dx") Object.assign(state.kernels, { by: "c", at: index[3] });
  else if (role?.shape.length === 4 && !["x", "dy"].includes(letter)) {
    const by = state.by(role.shape);
    state.kernels.at = by === "c" ? index[2] : index[3];
  }
}

function flatOf(step, number) {
  const role = roleOf(step, number);
  return role ? ravel(number.index, role.shape) : null;
}

// The way by which one came, with the number that one leaves.
function passed() {
  const shown = now.number ?? usual(steps[now.step]);
  const { call, end } = steps[now.step];
  const where = call ? call.name.split(".").at(-1) : endLabel(end);
  const name = isLoss(shown) ? where : `${where}.${nameOf(shown.letter, shown.index)}`;
  return [...now.trail, { name, address: address(now.step, shown) }];
}

// A factor was clicked: to the number that it is, where it was made.
function follow(letter, index, context) {
  const options = { trail: passed(), focus: true };
  const plain = (l, i) => ({ letter: l, index: i, chain: null, shared: false });
  if (!context.way || !("place" in context)) return go({ step: stepOf("loss", null, context), number: plain(letter, index) }, options);
  const { way, place, end } = context;
  if (letter === "x" && place > 0) return go({ step: stepOf("forward", way[place - 1]), number: plain("y", index) }, options);
  if (letter === "dy" && place < way.length - 1) return go({ step: stepOf("back", way[place + 1]), number: plain("dx", index) }, options);
  if (letter === "dy") return go({ step: stepOf("loss", null, end), number: plain("dy", index) }, options);
  const here = steps[now.step].call === context;
  const step = here ? now.step : stepOf("forward", context);
  return go({ step, number: plain(letter, index) }, { ...options, still: here });
}

// The two factors of a product under the pointer are ringed, where they are in sight.
function point(term) {
  const { call, end } = steps[now.step];
  const pair = term && term.context === (call ?? end) ? term : null;
  if (state.lit.pair === pair) return;
  state.lit.pair = pair;
  layer.outline();
  layer.revealPair();
}

function back(to) {
  const stop = now.trail[to];
  if (!stop) return;
  const target = read(stop.address);
  go(target, { trail: now.trail.slice(0, to), still: target.step === now.step, focus: true });
}

const walk = (step) => {
  if (step >= 0 && step < steps.length && step !== now.step) go({ step });
};

let playing = 0;
function play(on) {
  clearInterval(playing);
  playing = on ? setInterval(() => (now.step < steps.length - 1 ? walk(now.step + 1) : play(false)), 1600) : 0;
  element("play").textContent = playing ? "pause" : "play";
}

for (const [id, to] of [["first", () => 0], ["before", () => now.step - 1], ["next", () => now.step + 1], ["last", () => steps.length - 1]]) {
  element(id).addEventListener("click", () => {
    play(false);
    walk(to());
  });
}
element("play").addEventListener("click", () => play(!playing));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox]), select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const to = { ArrowRight: now.step + 1, ArrowLeft: now.step - 1 }[event.key];
  if (to !== undefined) {
    play(false);
    walk(to);
  } else if (event.key === "Escape") {
    if (now.trail.length) back(now.trail.length - 1);
    else if (now.number) go({ step: now.step }, { still: true });
  } else return;
  event.preventDefault();
});

window.addEventListener("popstate", () => {
  open({ ...read(location.hash), trail: history.state?.trail ?? [] });
});

element("facts").textContent = facts();
sayKept();
if ("DecompressionStream" in window) open({ ...read(location.hash), trail: history.state?.trail ?? [] });
else element("layer").textContent = "This page needs a browser of 2023 or newer: its numbers are compressed, and this one cannot unpack them.";

function facts() {
  const layers = new Set(told.calls.map((call) => call.name)).size;
  const parameters = new Map(told.calls.map((call) => [call.name, Object.values(call.parameters).reduce((sum, [, shape]) => sum + product(shape), 0)]));
  const total = [...parameters.values()].reduce((a, b) => a + b, 0);
  const chains = told.ends.length > 1 ? `${told.ends.length} chains (${told.ends.map((end) => end.chain).join(", ")}), ` : "";
  return `${chains}${count(layers, "layer")}, ${count(total, "parameter")}, ${count(batch, "example")}, ${told.dtype}. Loss ${show(told.loss ?? NaN, 7)}.`;
}

// What the page does not hold, said plainly.
function sayKept() {
  if (!told.lean) return;
  const full = FRACTION[told.dtype];
  const whole = told.bits >= full;
  const digits = Math.floor((told.bits + 1) * Math.log10(2));
  const [summary, text] = element("kept").children;
  element("kept").hidden = false;
  summary.textContent = whole
    ? "dw and db are summed by this page."
    : `Numbers are kept to ${digits} or ${digits + 1} digits.`;
  const sums = "dw and db are not in the file: the page sums them from x and dy, in float64, where they are shown.";
  text.textContent = whole
    ? `${sums} Every other number is the engine's own, and so are all statistics.`
    : `Tensors of more than a few thousand numbers keep ${told.bits} of the ${full} bits behind the point, so that the page ` +
      `stays below ${show(told.megabytes, 3)} MB; their sums differ from the engine's numbers from the next digit on. ${sums} ` +
      `All statistics are of the exact numbers. trace.html(file, megabytes=${told.full}) keeps every digit.`;
}
