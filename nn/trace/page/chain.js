// The strip at the top: every layer of every chain, and where we are. A layer that all chains use is one box.

const SHORT = {
  Conv2d: "conv", LeakyReLU: "leaky", ReLU: "relu", PixelShuffle: "shuffle", Flatten: "flat", Dense: "dense",
  Reshape: "shape", Sigmoid: "sigmoid", Tanh: "tanh",
};

// The states in the order of the step: each chain forward, its loss, and back.
const steps = [];
for (const [number, chain] of told.chains.entries()) {
  const way = chain.map((i) => told.calls[i]);
  const end = told.ends[number];
  end.way = way;
  way.forEach((call, place) => Object.assign(call, { way, place, end }));
  for (const call of way) steps.push({ go: "forward", chain: end.chain, call, end });
  steps.push({ go: "loss", chain: end.chain, call: null, end });
  for (const call of [...way].reverse()) steps.push({ go: "back", chain: end.chain, call, end });
}
const stepOf = (go, call, end) => steps.findIndex((s) => s.go === go && s.call === call && (call || s.end === end));
const callsOf = (call) => told.calls.filter((other) => other.name === call.name);
const isShared = (call) => callsOf(call).length > 1;
const ARROWS = { forward: "\u2192", back: "\u2190", loss: "\u21ba" };

class Strip {
  constructor(host, open) {
    this.boxes = []; // {element, columns: [[call or null, end], ...]}
    this.open = open;
    const many = told.ends.length > 1;
    const length = Math.max(...told.ends.map((end) => end.way.length));
    const grid = make("ol", { class: "strip", "aria-label": "the layers, in the order of the way forward" });
    grid.style.gridTemplateColumns = `${many ? "max-content " : ""}repeat(${length + 1}, minmax(2.55rem, 1fr))`;
    for (let column = 0; column <= length; column++) {
      const cells = told.ends.map((end) => (column < length ? end.way[column] : null));
      const merged = many && cells.every((call) => call && call.name === cells[0].name);
      const rows = merged ? [told.ends.map((end) => [end.way[column], end])] : [];
      if (!merged) {
        told.ends.forEach((end, row) => {
          if (column === length) rows[row] = [[null, end]];
          else if (end.way[column]) rows[row] = [[end.way[column], end]];
        });
      }
      rows.forEach((uses, row) => {
        const item = this.box(uses, merged);
        item.style.gridColumn = column + (many ? 2 : 1);
        item.style.gridRow = merged ? `1 / span ${told.ends.length}` : row + 1;
        grid.append(item);
      });
    }
    if (many) {
      told.ends.forEach((end, row) => {
        const label = make("li", { class: "chain", text: end.chain, "aria-hidden": "true" });
        label.style.gridRow = row + 1;
        grid.append(label);
      });
    }
    this.scroll = make("div", { class: "rail" }, grid);
    host.append(this.scroll);
  }

  box(uses, merged) {
    const [call, end] = uses[0];
    const name = call ? SHORT[call.class] ?? call.class.toLowerCase() : "loss";
    const shape = call ? call.roles.y.shape.slice(1) : [];
    const size = shape.length === 3 ? `${shape[0]}\u00d7${shape[1]}\n\u00d7${shape[2]}` : shape.join("\u00d7") || end.loss.replace("()", "");
    const title = call ? `${call.name}: ${call.repr}, y ${shapeText(call.roles.y.shape)}` : `loss ${end.loss}`;
    const button = make("button", {
      type: "button",
      title,
      "aria-label": call ? `${call.name}${merged ? ", shared" : end.chain ? `, chain ${end.chain}` : ""}` : endLabel(end),
      onclick: () => this.press(uses),
    }, make("span", { class: "kind", text: name }), make("span", { class: "size", text: size }));
    const item = make("li", { class: merged ? "merged" : "" }, button);
    this.boxes.push({ item, button, uses });
    return item;
  }

  // To the layer, in the chain and the direction in which we are; where we are there already, in the other direction.
  press(uses) {
    const now = this.now;
    const [call, end] = uses.find(([, e]) => e === now.end) ?? uses[0];
    if (!call) return this.open(stepOf("loss", null, end));
    const go = now.go === "loss" ? "forward" : now.go;
    const other = go === "forward" ? "back" : "forward";
    return this.open(stepOf(now.call === call ? other : go, call));
  }

  show(number) {
    const now = steps[number];
    this.now = now;
    const reached = (go, call) => {
      const at = stepOf(go, call);
      return at >= 0 && at <= number;
    };
    for (const { item, button, uses } of this.boxes) {
      const here = uses.some(([call, end]) => end === now.end && call === now.call);
      item.classList.toggle("here", here);
      item.dataset.arrow = here ? ARROWS[now.go] : "";
      item.classList.toggle("went", uses.some(([call, end]) =>
        call ? reached("forward", call) : stepOf("loss", null, end) <= number));
      item.classList.toggle("came", uses.some(([call]) => call && reached("back", call)));
      item.classList.toggle("off", !uses.some(([, end]) => end === now.end));
      button.tabIndex = here ? 0 : -1; // the arrows go to the others
      if (here) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
      if (here) this.reveal(item);
    }
  }

  reveal(item) {
    const { scroll } = this;
    const left = item.offsetLeft - scroll.clientWidth / 2 + item.offsetWidth / 2;
    if (scroll.scrollWidth > scroll.clientWidth) scroll.scrollLeft = left;
  }
}
