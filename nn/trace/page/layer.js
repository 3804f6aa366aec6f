// One state: the layer's name, its equations, and its tensors as pictures.

// What may be shown as a colour picture: what enters a model, what leaves it, and what should have.
function isPicture(letter, role, call) {
  if (role.shape.length !== 4 || role.shape[3] !== 3) return false;
  if (letter === "target") return true;
  if (letter === "x") return Boolean(call) && call.place === 0;
  return letter === "y" && (!call || call.place === call.way.length - 1);
}

class LayerView {
  // choose(letter, flat, {chain, shared}): a number was picked.
  constructor(host, { state, choose, said, changed }) {
    Object.assign(this, { host, state, choose, said, changed });
    this.figures = [];
  }

  // Everything anew for a step.
  show(step) {
    for (const { picture } of this.figures) picture.close();
    this.figures = [];
    this.step = step;
    this.host.className = step.go;
    this.host.replaceChildren(...this.head(step));
    this.grid = make("div", { class: step.go === "loss" ? "tensors loss" : "tensors" });
    this.host.append(this.grid);
    if (step.go === "loss") this.showLoss(step.end);
    else if (step.go === "forward") this.showForward(step.call);
    else this.showBack(step.call);
  }

  head({ go, call, end }) {
    const chain = end.chain ? make("span", { class: "tag", text: `chain ${end.chain}` }) : null;
    if (!call) {
      const value = make("button", { type: "button", class: "lossvalue", onclick: () => this.choose("loss", 0, {}), text: show(end.value ?? NaN) });
      const total = make("button", { type: "button", class: "lossvalue", onclick: () => this.choose("total", 0, {}), text: show(told.loss ?? NaN) });
      return [
        make("h1", {}, make("span", { class: "way", text: "loss" }), end.loss, chain),
        this.equations(end.equations),
        make("p", { class: "say" }, LOSS_SAYS),
        make("p", { class: "say" }, `The loss${end.chain ? ` of ${end.chain}` : ""} is `, value,
          ...(told.ends.length > 1 ? ["; that of the step is the sum over the chains, ", total, "."] : ["."])),
      ];
    }
    const way = go === "forward" ? `forward ${ARROWS.forward}` : `${ARROWS.back} backward`;
    const shown = Object.fromEntries(Object.entries(call.equations).filter(([letter]) => (letter === "y") === (go === "forward")));
    const says = (SAYS[call.kind] ?? SAYS[""])[go === "forward" ? "forward" : "backward"];
    const parts = [
      make("h1", {}, make("span", { class: "way", text: way }), call.name, " ", make("code", { text: call.repr }), chain),
      this.equations(shown),
      make("p", { class: "say", text: says }),
    ];
    const shared = isShared(call);
    if (shared && go === "back" && Object.keys(call.sums).length) {
      const names = callsOf(call).map((other) => other.chain);
      parts.push(make("p", { class: "say shared", text: `Shared: ${names.join(" and ")} ${names.length === 2 ? "both" : "all"} went through this layer. ` +
        `Each adds its own gradient to ${Object.keys(call.sums).join(" and ")}, and what the optimizer sees is their sum.` }));
    }
    return parts;
  }

  equations(equations) {
    return make("div", { class: "equations" }, ...[...new Set(Object.values(equations))].map((text) => make("p", {}, ...words(text))));
  }

  showForward(call) {
    const { roles } = call;
    const came = make("div", { class: "column" });
    const went = make("div", { class: "column" });
    came.append(this.figure("x", roles.x, { what: call.place ? `what comes in: y of ${call.way[call.place - 1].name}` : "what was put in" }));
    for (const letter of Object.keys(call.parameters)) came.append(this.figure(letter, roles[letter]));
    went.append(this.figure("y", roles.y));
    this.grid.append(came, went);
  }

  // Where a layer is shared, dw and db take the whole width: each chain's share, and the sum. Else what is given stands on
  // the left, what is made on the right.
  showBack(call) {
    const { roles, way, place } = call;
    const [before, after] = [way[place - 1], way[place + 1]];
    const dy = this.figure("dy", roles.dy, { what: `comes back: ${after ? `dx of ${after.name}` : "from the loss"}` });
    const dx = this.figure("dx", roles.dx, { what: `handed on: ${before ? `dy of ${before.name}` : "for what was put in"}` });
    const kept = (letter) => this.figure(letter, roles[letter], { what: "kept from the way forward" });
    const column = (...figures) => make("div", { class: "column" }, ...figures);
    const names = Object.keys(call.parameters);
    if (!names.length) {
      const needs = { shuffle: [], reshape: [], sigmoid: ["y"], tanh: ["y"] }[call.kind] ?? ["x"];
      this.grid.append(column(dy, ...needs.map(kept)), column(dx));
    } else if (isShared(call)) {
      const [, ...others] = names;
      this.grid.append(column(dy), column(kept("x")), this.together(call, `d${names[0]}`));
      this.grid.append(column(this.figure(names[0], roles[names[0]])), column(dx), ...others.map((name) => this.together(call, `d${name}`)));
    } else {
      const weights = names.filter((name) => name !== "b").map((name) => this.figure(name, roles[name]));
      const grads = names.map((name) => this.figure(`d${name}`, roles[`d${name}`]));
      this.grid.append(column(dy, kept("x"), ...weights), column(dx, ...grads));
    }
  }

  // A shared parameter's gradient from each chain, and their sum, in the same colours.
  together(call, letter) {
    const calls = callsOf(call);
    const sum = call.sums[letter];
    const scale = Math.max(...[...calls.map((c) => c.roles[letter]), sum].map((role) => role.source.stats.scale ?? 0));
    const figures = calls.map((c) => this.figure(letter, c.roles[letter], { what: `from chain ${c.chain}`, chain: c.chain, scale }));
    const names = calls.map((c) => c.chain).join(" + ");
    return make("div", { class: "together" }, ...figures, this.figure(letter, sum, { what: `${names}: the sum`, shared: true, scale }));
  }

  showLoss(end) {
    const { y, target, dy } = end.roles;
    this.grid.append(
      this.figure("y", y, { what: "what came out" }),
      this.figure("target", target),
      this.figure("error", errorOf(end), { what: "y - target", instead: "dy" }),
      this.figure("dy", dy, { what: "where the way back begins" }),
    );
  }

  figure(letter, role, { what = WHAT[letter] ?? "", chain = null, shared = false, scale = null, instead = letter } = {}) {
    const { state, step } = this;
    const call = step.call;
    const canColour = isPicture(letter, role, call);
    const figure = make("figure", { class: "tensor", "data-tensor": (shared ? "sum-" : "") + letter, "data-chain": chain ?? step.chain });
    const own = { letter, role, chain, shared, figure };
    const view = () => ({
      n: Math.min(state.n, role.shape[0] - 1),
      colours: canColour && state.rgb,
      by: state.by(role.shape),
      at: state.at(role.shape),
    });
    const controls = make("span", { class: "controls" });
    const caption = make("figcaption", {},
      make("span", { class: "what", title: what }, make("b", { text: letter }), ` ${what}`),
      make("span", { class: "shape", text: shapeText(role.shape) }), controls);
    const body = make("div", { class: "body" });
    figure.append(caption, body);
    own.picture = new Picture(body, {
      letter,
      role,
      name: `${letter}, ${what}`,
      scale: scale ?? role.source.stats.scale,
      layout: () => layoutOf(letter === "error" ? "y" : letter, role.shape, view()),
      pick: (flat) => this.choose(instead, flat, { chain, shared }),
      said: this.said,
      palette: () => palettes[state.palette],
      each: () => state.each,
      highlights: () => this.highlights(own),
    });
    const bar = make("div", { class: "legend" });
    const statistics = make("p", { class: "statistics" });
    figure.append(bar, statistics);
    own.paint = () => {
      this.controls(controls, own, canColour);
      own.picture.arrange();
      legend(bar, own.picture, canColour && state.rgb, state);
      own.picture.say();
    };
    own.picture.ready.then(() => {
      own.picture.scale = scale ?? role.source.stats.scale;
      own.paint();
      this.statistics(statistics, own, instead, chain, shared);
    });
    own.paint();
    this.statistics(statistics, own, instead, chain, shared);
    this.figures.push(own);
    return figure;
  }

  controls(host, own, canColour) {
    const { state } = this;
    const { letter, role } = own;
    host.replaceChildren();
    const button = (text, label, action) => make("button", { type: "button", "aria-label": `${letter}: ${label}`, title: label, onclick: action, text });
    if (canColour) {
      host.append(button(state.rgb ? "channels" : "colour", state.rgb ? "show the channels apart" : "show as colour", () => {
        state.rgb = !state.rgb;
        for (const figure of this.figures) figure.paint();
      }));
    }
    if (role.shape.length === 4 && !["x", "y", "dx", "dy", "target", "error"].includes(letter)) {
      const by = state.by(role.shape);
      const [, , channels, outputs] = role.shape;
      const select = make("select", {
        "aria-label": `${letter}: which kernels`,
        onchange: () => {
          state.setBy(select.value);
          for (const figure of this.figures) figure.paint();
        },
      });
      if (channels <= 8) select.append(make("option", { value: "all", text: "all, k \u00b7 c" }));
      select.append(make("option", { value: "k", text: "filter k =" }), make("option", { value: "c", text: "channel c =" }));
      select.value = by;
      host.append(select);
      if (by !== "all") {
        const most = (by === "k" ? outputs : channels) - 1;
        const field = make("input", {
          type: "number", min: 0, max: most, value: state.at(role.shape), "aria-label": by === "k" ? "filter k" : "channel c",
          onchange: () => {
            state.setAt(clamp(Math.round(Number(field.value)) || 0, 0, most));
            for (const figure of this.figures) figure.paint();
          },
        });
        host.append(field);
      }
    }
    const zoom = (by) => () => {
      own.picture.zoom = clamp(own.picture.zoom * by, 0.25, 16);
      own.picture.arrange();
      own.picture.say();
    };
    host.append(button("\u2212", "smaller", zoom(0.5)), button("+", "larger", zoom(2)));
  }

  statistics(host, own, instead, chain, shared) {
    const { role } = own;
    const { stats } = role.source;
    host.replaceChildren();
    if (stats.min === undefined) {
      if (stats.odd) host.append(`none of its ${count(stats.odd, "number")} is finite`);
      return;
    }
    const extreme = (name, flat, value) => make("button", {
      type: "button", title: nameOf(own.letter, unravel(flat, role.shape)), onclick: () => this.choose(instead, flat, { chain, shared }), text: `${name} ${show(value, 4)}`,
    });
    host.append(extreme("min", stats.min_at, stats.min), extreme("max", stats.max_at, stats.max),
      make("span", { text: `mean ${show(stats.mean, 3)}` }), make("span", { text: `deviation ${show(stats.std, 3)}` }),
      make("span", { text: `zeros ${percent(stats.zeros)}` }));
    const weight = own.letter[0] === "d" && this.step.call?.roles[own.letter.slice(1)];
    if (weight && !["dx", "dy"].includes(own.letter)) {
      const { norm } = weight.source.stats;
      const parameter = own.letter.slice(1);
      if (norm) host.append(make("span", {
        title: "length of the gradient by length of the parameter: how fast it would change at a learning rate of 1",
        text: `|${own.letter}| / |${parameter}| ${show(stats.norm / norm, 2)}`,
      }));
    }
    if (stats.odd) host.append(make("span", { class: "wrong", text: `${stats.odd.toLocaleString("en")} not finite` }));
  }

  // What of a picture is outlined now.
  highlights({ letter, role, chain, shared }) {
    const { marks, number, pair } = this.state.lit ?? {};
    const mine = chain === null || chain === this.step.chain;
    const same = number && number.letter === letter && (number.shared ? chain || shared : !shared && (!chain || (number.chain ?? this.step.chain) === chain));
    const flat = same ? number.flat : null;
    const own = letter === "error" ? "y" : letter;
    const inPair = pair && mine && !shared ? [pair.left, pair.right].find((side) => side && side[0] === letter) : null;
    return { marks: mine && !shared ? marks?.[own] : null, selected: flat, pair: inPair ? inPair[1] : null };
  }

  // After a change of what is chosen: other tiles, outlines, and the number in sight.
  refresh(scroll) {
    this.changed();
    for (const own of this.figures) {
      own.paint();
      const { selected, marks } = this.highlights(own);
      if (!scroll) continue;
      own.picture.ready.then(() => {
        const n = ["x", "y", "dx", "dy", "target"].includes(own.letter) ? this.state.n : null;
        const flat = selected ?? (marks ? middleOf(marks, own.role.shape, n) : null);
        if (flat !== null) own.picture.reveal(flat);
      });
    }
  }

  // The picture of the chosen number, scrolled into the window.
  seek() {
    const own = this.figures.find((one) => this.highlights(one).selected !== null && (one.shared || !this.state.lit.number.shared));
    own?.figure.scrollIntoView({ block: "nearest" });
  }

  // The factors of the product under the pointer are brought into sight.
  revealPair() {
    for (const own of this.figures) {
      const { pair } = this.highlights(own);
      if (pair !== null) own.picture.reveal(pair);
    }
  }

  outline() {
    for (const { picture } of this.figures) picture.later();
  }
}

// The place of the number in the middle of what marks cover, where they cover a part only.
function middleOf(marks, shape, n) {
  const index = marks.map(([low, high, step], d) => clamp(low + step * Math.floor((high - low) / step / 2), 0, shape[d] - 1));
  if (n !== null && n >= marks[0][0] && n <= marks[0][1]) index[0] = n;
  return marks.every(([low, high], d) => low <= 0 && high >= shape[d] - 1) ? null : ravel(index, shape);
}

// y - target, made here.
function errorOf(end) {
  const { y, target } = end.roles;
  const source = {
    ready: false, size: y.size, dtype: y.source.dtype, digits: y.source.digits, stats: { scale: 1 },
    get: (i) => y.get(i) - target.get(i),
  };
  source.load = async () => {
    await Promise.all([y.load(), target.load()]);
    let [low, high, sum, squares, zeros] = [0, 0, 0, 0, 0];
    for (let i = 0; i < y.size; i++) {
      const value = source.get(i);
      if (value < source.get(low)) low = i;
      if (value > source.get(high)) high = i;
      [sum, squares, zeros] = [sum + value, squares + value * value, zeros + (value === 0)];
    }
    const mean = sum / y.size;
    const [min, max] = [source.get(low), source.get(high)];
    const std = Math.sqrt(Math.max(squares / y.size - mean * mean, 0));
    const scale = Math.max(Math.abs(min), Math.abs(max));
    source.stats = { min, max, min_at: low, max_at: high, mean, std, zeros: zeros / y.size, scale, odd: 0 };
    source.ready = true;
    return source;
  };
  return { source, shape: y.shape, size: y.size, get: source.get, load: source.load };
}

// The colours and what they mean.
function legend(host, picture, colours, { palette, each }) {
  host.replaceChildren();
  const { stats } = picture.role.source;
  const lies = make("span", { class: "lies", text: picture.view?.lies ?? "" });
  if (colours || (each && picture.view?.tiles > 1)) {
    host.append(make("span", { text: colours ? (stats.min >= 0 && stats.max <= 1 ? "red, green, blue as they are" : "red, green, blue, from min to max") : "full colour: the largest number of each tile" }), lies);
    return;
  }
  const { scale } = picture;
  const canvas = make("canvas", { width: 129, height: 1, "aria-hidden": "true" });
  const ctx = canvas.getContext("2d");
  const image = ctx.createImageData(129, 1);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < 129; i++) pixels[i] = palettes[palette][Math.round((i / 128) * 2 * LEVELS)];
  ctx.putImageData(image, 0, 0);
  const beyond = Math.max(Math.abs(stats.min ?? 0), Math.abs(stats.max ?? 0)) > scale;
  const [less, more] = beyond ? ["\u2264 ", "\u2265 "] : ["", ""];
  host.append(make("span", { text: `${less}${show(-scale, 3)}` }), make("span", { class: "ramp" }, canvas, make("i", { text: "0" })), make("span", { text: `${more}${show(scale, 3)}` }), lies);
}
