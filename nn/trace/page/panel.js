// The panel: one number, the products whose sum it is, and whether they add up to what the engine has.

const PAGE = 200; // products in the list at a time

class Panel {
  // follow(letter, index, context): to where a factor comes from. point(term): outlines the two factors in the pictures.
  constructor(host, { follow, point, back, jump }) {
    Object.assign(this, { host, follow, point, back, jump });
    this.order = "size";
  }

  // spec: {title, sum, context, why, also: [[text, action]], trail, about, tensor}
  show(spec) {
    this.spec = spec;
    const { sum } = spec;
    const { host } = this;
    host.replaceChildren();
    this.stamp(sum);
    if (spec.trail.length) host.append(this.trail(spec.trail));
    if (spec.also.length > 1) host.append(this.others(spec.also));
    host.append(
      make("h2", { tabindex: -1, id: "number", text: spec.title }),
      make("p", { class: "value", text: show(sum.own ? sum.value : sum.computed, spec.valueDigits) }),
    );
    if (spec.about) host.append(make("p", { class: "about" }, ...spec.about));
    host.append(make("p", { class: "equation" }, ...words(sum.equation)));
    if (spec.why) host.append(make("p", { class: "why", text: spec.why }));
    if (sum.parts.length) {
      for (const [chain, part] of sum.parts) {
        const section = make("section", { class: "part", "data-part": chain, "data-computed": String(part.computed) });
        section.append(make("h3", {}, `from ${chain}: `, make("b", { text: show(part.computed, spec.digits) })));
        if (part.note) section.append(make("p", { class: "note", text: part.note }));
        this.products(section, part, spec.contexts[chain]);
        host.append(section);
      }
    } else {
      if (sum.note) host.append(make("p", { class: "note", text: sum.note }));
      if (sum.formula) host.append(this.formula(sum));
      else this.products(host, sum, spec.context);
    }
    if (!sum.given && !sum.unknown) host.append(this.check(sum, spec));
    host.append(this.jumper(spec));
  }

  // The exact numbers, for whoever reads the page by program.
  stamp(sum) {
    const { dataset } = this.host;
    Object.assign(dataset, { number: sum.name, computed: String(sum.computed), count: String(sum.length) });
    if (sum.own) dataset.value = String(sum.value);
    else delete dataset.value;
    dataset.note = sum.note;
    dataset.equation = sum.equation;
  }

  trail(trail) {
    const list = make("ol", {});
    trail.forEach((stop, i) => {
      list.append(make("li", {}, make("button", { type: "button", onclick: () => this.back(i), text: stop.name })));
    });
    return make("nav", { class: "trail", "aria-label": "the numbers you came by" },
      make("button", { type: "button", class: "up", onclick: () => this.back(trail.length - 1), text: "\u2039 back" }), list);
  }

  formula(sum) {
    const text = sum.unknown
      ? `What it is a sum of is known to the layer alone. In Python, @nn.trace.explains teaches it to nn.explain.`
      : sum.formula;
    const line = make("p", { class: sum.unknown ? "note" : "formula" }, text);
    if (sum.needs) line.append(" ", this.factor(sum.needs[0], sum.needs[1], this.spec.context, "where x comes from"));
    return line;
  }

  factor(letter, index, context, text) {
    return make("button", {
      type: "button", class: "factor", onclick: () => this.follow(letter, index, context), text,
    });
  }

  products(host, sum, context) {
    const products = sum.products();
    if (!products.length && !sum.start) {
      host.append(make("p", { class: "note", text: "No products: nothing reached it." }));
      return;
    }
    const plain = sum.right.letter === null && sum.right.name(0) === "1";
    const looks = plain ? "plain" : sum.length && sum.left.name(sum.at[0]).length > 16 ? "broad" : "";
    const list = make("ol", { class: `products ${looks}`, "aria-label": "products" });
    const sizes = products.map(Math.abs);
    const largest = sizes.reduce((a, b) => Math.max(a, b), 0);
    const bySize = Uint32Array.from(products.keys()).sort((a, b) => sizes[b] - sizes[a]);
    const head = make("div", { class: "listhead" });
    let first = 0;
    const fill = () => {
      list.replaceChildren();
      if (sum.start && first === 0) list.append(this.start(sum.start, context));
      const end = Math.min(first + PAGE, products.length);
      for (let i = first; i < end; i++) {
        const t = this.order === "size" ? bySize[i] : i;
        list.append(this.row(sum, t, products[t], largest, context));
      }
      list.scrollTop = 0;
      const label = products.length > PAGE ? `${(first + 1).toLocaleString("en")} to ${end.toLocaleString("en")} of ` : "";
      head.replaceChildren(make("span", { text: label + count(products.length, plain ? "number" : "product") }));
      if (products.length < 2) return;
      if (products.length > PAGE) {
        const turn = (by) => () => {
          first += by;
          fill();
        };
        head.append(
          make("button", { type: "button", disabled: first === 0, onclick: turn(-PAGE), text: "\u25c2", "aria-label": "earlier products" }),
          make("button", { type: "button", disabled: end === products.length, onclick: turn(PAGE), text: "\u25b8", "aria-label": "later products" }),
        );
      }
      head.append(make("button", {
        type: "button",
        class: "order",
        onclick: () => {
          this.order = this.order === "size" ? "equation" : "size";
          first = 0;
          fill();
        },
        text: this.order === "size" ? "largest first" : "in order",
        title: "largest first, or in the order of the equation",
      }));
    };
    fill();
    list.addEventListener("keydown", (event) => this.walk(event, list));
    list.addEventListener("pointerleave", () => this.point(null));
    list.addEventListener("focusout", () => this.point(null));
    host.append(head, list);
    if (products.length > 2) host.append(this.balance(products));
  }

  start(start, context) {
    const button = this.factor(start.letter, start.index, context, start.name);
    button.tabIndex = -1;
    return make("li", { class: "start", "data-start": start.name, "data-start-value": String(start.value) },
      make("span", { class: "cell" }, button, make("span", { text: show(start.value, 6) })),
      make("span", { class: "what", text: "the sum starts with the bias" }));
  }

  row(sum, t, value, largest, context) {
    const [a, b] = [sum.at[2 * t], sum.at[2 * t + 1]];
    const cell = (side, at) => {
      const name = side.name(at);
      const label = side.letter
        ? Object.assign(this.factor(side.letter, side.index(at), context, name), { tabIndex: -1 })
        : make("span", { class: "name", text: name });
      return make("span", { class: "cell" }, label, make("span", { text: show(side.value(at), side.role ? Math.min(side.role.source.digits, 6) : 6) }));
    };
    const digits = Math.min(sum.left.role?.source.digits ?? 6, sum.right.role?.source.digits ?? 6, 6);
    const bar = make("span", { class: value < 0 ? "bar minus" : "bar" }, make("i"));
    bar.firstChild.style.width = `${largest ? (100 * Math.abs(value)) / largest : 0}%`;
    const term = {
      left: sum.left.letter && [sum.left.letter, a], right: sum.right.letter && [sum.right.letter, b], context,
    };
    const row = make("li", {
      "data-left": sum.left.name(a),
      "data-left-value": String(sum.left.value(a)),
      "data-right": sum.right.name(b),
      "data-right-value": String(sum.right.value(b)),
      "data-product": String(value),
      onpointerenter: () => this.point(term),
      onfocusin: () => this.point(term),
    }, cell(sum.left, a), make("span", { class: "times", text: "\u00d7" }), cell(sum.right, b),
    make("span", { class: "equals", text: "=" }), make("span", { class: "product", text: show(value, digits) }), bar);
    if (row.querySelector("button")) row.querySelector("button").tabIndex = -1;
    return row;
  }

  // One of the list's factors takes the focus from Tab; the arrows move it.
  walk(event, list) {
    const rows = [...list.children].map((row) => [...row.querySelectorAll("button")]).filter((row) => row.length);
    const r = rows.findIndex((row) => row.includes(document.activeElement));
    if (r < 0) return;
    const s = rows[r].indexOf(document.activeElement);
    const to = {
      ArrowDown: [r + 1, s], ArrowUp: [r - 1, s], ArrowRight: [r, s + 1], ArrowLeft: [r, s - 1],
      Home: [0, s], End: [rows.length - 1, s],
    }[event.key];
    if (!to) return;
    const row = rows[clamp(to[0], 0, rows.length - 1)];
    const button = row[clamp(to[1], 0, row.length - 1)];
    document.activeElement.tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
    event.preventDefault();
    event.stopPropagation();
  }

  // How much pushes up, how much down: large sums of little are made of much that cancels.
  balance(products) {
    const up = products.filter((p) => p > 0);
    const down = products.filter((p) => p < 0);
    const zero = products.length - up.length - down.length;
    const how = (list, way) => `${list.length.toLocaleString("en")} push ${way} by ${show(Math.abs(fsum([...list])), 4)}`;
    const parts = [up.length && how(up, "up"), down.length && how(down, "down"), zero && `${zero.toLocaleString("en")} are 0`];
    return make("p", { class: "note", text: `Of these, ${parts.filter(Boolean).join(", ")}.` });
  }

  check(sum, { digits, valueDigits, bits }) {
    const computed = sum.computed;
    const made = sum.formula ? "the formula, in float64" : sum.parts.length ? "the parts together, in float64" : "the sum, in float64";
    const rows = make("dl", { class: "check" }, make("dt", { text: made }), make("dd", { text: show(computed, digits) }));
    if (!sum.own) {
      rows.append(make("dt", { class: "long", text: "To stay small, the page was not given the engine's own dw and db: " +
        "they are summed here from x and dy. Their statistics are the engine's." }));
      this.host.dataset.verdict = "summed by this page";
      return rows;
    }
    const off = Object.is(computed, sum.value) ? 0 : Math.abs(computed - sum.value); // nan is nan
    const share = sum.scale ? off / sum.scale : Infinity;
    const full = FRACTION[told.dtype];
    const cut = bits < full;
    const right = off <= (cut ? 2 ** (1 - bits) : 100 * sum.eps) * sum.scale;
    const text = off === 0
      ? "none"
      : `${show(off, 2)}, ${show(share, 1)} of the ${sum.formula ? "number" : "products"}\u2019 size`;
    const why = off === 0 ? "" : right ? (cut ? `: the page keeps ${bits} bits of each number` : ": rounding") : ": more than rounding explains";
    rows.append(
      make("dt", { text: `the engine\u2019s number, ${told.dtype}` }), make("dd", { text: show(sum.value, valueDigits) }),
      make("dt", { text: "difference" }), make("dd", { class: right ? "right" : "wrong", text: text + why }),
    );
    this.host.dataset.verdict = off === 0 ? "the same" : right ? "rounding" : "wrong";
    return rows;
  }

  // Any number by its index.
  jumper({ jumpText }) {
    const field = make("input", { type: "text", value: jumpText, spellcheck: "false", autocomplete: "off", "aria-label": "a number of this layer, such as y[0,1,2,3]" });
    const error = make("span", { class: "error", role: "alert" });
    return make("form", {
      class: "jump",
      onsubmit: (event) => {
        event.preventDefault();
        error.textContent = this.jump(field.value) ?? "";
      },
    }, make("label", {}, "number ", field), make("button", { type: "submit", text: "show" }), error);
  }

  others(also) {
    const list = make("p", { class: "also", role: "group", "aria-label": "numbers to explain" }, "explain ");
    for (const [text, action, pressed] of also) {
      list.append(make("button", { type: "button", onclick: action, "aria-pressed": pressed ? "true" : "false", text }), " ");
    }
    return list;
  }
}
