// Which products make a number: the mirror of nn/trace/kinds.py and nn/trace/losses.py, in their order.
//
// A sum is {name, equation, value, own, start, left, right, at, formula, result, note, parts, marks}: `at` lists pairs of
// places, product number t being left(at[2t]) right(at[2t + 1]); `marks` says which numbers take part, tensor by
// tensor, as [low, high, step] for each index.

const all = (size) => [0, size - 1, 1];
const one = (i) => [i, i, 1];
const whole = (shape) => shape.map(all);
const exactly = (index) => index.map(one);

// A factor that is a number of a tensor, and one that is the same for every product.
const of = (letter, role) => ({
  letter,
  role,
  index: (flat) => unravel(flat, role.shape),
  name: (flat) => nameOf(letter, unravel(flat, role.shape)),
  value: (flat) => role.get(flat),
});
const literal = (text, value) => ({ letter: null, name: () => text, value: () => value });
const listed = (names, values) => ({ letter: null, name: (i) => names(i), value: (i) => values[i] });

class Sum {
  constructor(name, equation, value) {
    Object.assign(this, { name, equation, value, own: true, eps: told.dtype === "float64" ? 2 ** -52 : 2 ** -23 });
    Object.assign(this, { start: null, left: null, right: null, at: [], formula: "", result: null, note: "" });
    Object.assign(this, { parts: [], marks: {} });
  }

  get length() {
    return this.at.length / 2;
  }

  products() {
    this.made ??= Float64Array.from({ length: this.length }, (_, t) =>
      this.left.value(this.at[2 * t]) * this.right.value(this.at[2 * t + 1]));
    return this.made;
  }

  get computed() {
    if (this.parts.length) return fsum(this.parts.map(([, part]) => part.computed));
    if (this.result !== null) return this.result;
    const first = this.start ? [this.start.value] : [];
    return fsum([...first, ...this.products()]);
  }

  // The sum of the products' sizes: what rounding is measured by.
  get scale() {
    if (this.parts.length) return fsum(this.parts.map(([, part]) => part.scale));
    if (this.result !== null) return Math.abs(this.result);
    const first = this.start ? [Math.abs(this.start.value)] : [];
    return fsum([...first, ...this.products().map(Math.abs)]);
  }
}

function sumOf(call, tensor, index) {
  const role = call.roles[tensor];
  const sum = new Sum(`${call.label}.${nameOf(tensor, index)}`, call.equations[tensor], role.at(...index));
  sum.own = role.source.own;
  return sum;
}

const EXPLAIN = {
  dense(call, tensor, index) {
    const { x, dy, w, b } = call.roles;
    const sum = sumOf(call, tensor, index);
    const [inputs, outputs] = w.shape;
    const batch = x.shape[0];
    if (tensor === "y") {
      const [n, o] = index;
      Object.assign(sum, { left: of("x", x), right: of("w", w), start: started(b, o) });
      for (let i = 0; i < inputs; i++) sum.at.push(n * inputs + i, i * outputs + o);
      sum.marks = { x: [one(n), all(inputs)], w: [all(inputs), one(o)], b: [one(o)] };
    } else if (tensor === "dx") {
      const [n, i] = index;
      Object.assign(sum, { left: of("dy", dy), right: of("w", w) });
      for (let o = 0; o < outputs; o++) sum.at.push(n * outputs + o, i * outputs + o);
      sum.marks = { dy: [one(n), all(outputs)], w: [one(i), all(outputs)] };
    } else if (tensor === "dw") {
      const [i, o] = index;
      Object.assign(sum, { left: of("x", x), right: of("dy", dy) });
      for (let n = 0; n < batch; n++) sum.at.push(n * inputs + i, n * outputs + o);
      sum.marks = { x: [all(batch), one(i)], dy: [all(batch), one(o)] };
    } else {
      Object.assign(sum, { left: of("dy", dy), right: literal("1", 1) });
      for (let n = 0; n < batch; n++) sum.at.push(n * outputs + index[0], 0);
      sum.marks = { dy: [all(batch), one(index[0])] };
    }
    return sum;
  },

  conv2d(call, tensor, index) {
    const { x, dy, w, b } = call.roles;
    const sum = sumOf(call, tensor, index);
    const [batch, height, width, channels] = x.shape;
    const [, oh, ow, kout] = dy.shape;
    const { kernel: [kh, kw], stride: [sh, sw], border: [top, left] } = call.options;
    const xAt = (n, r, s, c) => ((n * height + r) * width + s) * channels + c;
    const dyAt = (n, p, q, k) => ((n * oh + p) * ow + q) * kout + k;
    const wAt = (i, j, c, k) => ((i * kw + j) * channels + c) * kout + k;
    const inside = (r, s) => r >= 0 && r < height && s >= 0 && s < width;
    if (tensor === "y") {
      const [n, p, q, k] = index;
      Object.assign(sum, { left: of("x", x), right: of("w", w), start: started(b, k) });
      let outside = 0;
      for (let i = 0; i < kh; i++) {
        for (let j = 0; j < kw; j++) {
          const [r, s] = [sh * p + i - top, sw * q + j - left];
          if (!inside(r, s)) outside++;
          else for (let c = 0; c < channels; c++) sum.at.push(xAt(n, r, s, c), wAt(i, j, c, k));
        }
      }
      if (outside) sum.note = `${outside} of the kernel's ${kh * kw} places lie on the border of zeros`;
      const [r, s] = [sh * p - top, sw * q - left];
      sum.marks = { x: [one(n), [r, r + kh - 1, 1], [s, s + kw - 1, 1], all(channels)] };
      sum.marks.w = [all(kh), all(kw), all(channels), one(k)];
      sum.marks.b = [one(k)];
    } else if (tensor === "dx") {
      const [n, r, s, c] = index;
      Object.assign(sum, { left: of("dy", dy), right: of("w", w) });
      const [rows, columns] = [met(r + top, kh, sh, oh), met(s + left, kw, sw, ow)];
      for (const [i, p] of rows) {
        for (const [j, q] of columns) {
          for (let k = 0; k < kout; k++) sum.at.push(dyAt(n, p, q, k), wAt(i, j, c, k));
        }
      }
      sum.note = `${rows.length * columns.length} of the kernel's ${kh * kw} taps met this pixel`;
      sum.marks.dy = [one(n), span(rows, 1), span(columns, 1), all(kout)];
      sum.marks.w = [span(rows, 0), span(columns, 0), one(c), all(kout)];
    } else if (tensor === "dw") {
      const [i, j, c, k] = index;
      Object.assign(sum, { left: of("x", x), right: of("dy", dy) });
      for (let n = 0; n < batch; n++) {
        for (let p = 0; p < oh; p++) {
          for (let q = 0; q < ow; q++) {
            const [r, s] = [sh * p + i - top, sw * q + j - left];
            if (inside(r, s)) sum.at.push(xAt(n, r, s, c), dyAt(n, p, q, k));
          }
        }
      }
      const places = batch * oh * ow;
      const outside = places - sum.length;
      if (outside) sum.note = `at ${outside} of ${places} places it met the border of zeros`;
      const [r, s] = [i - top, j - left];
      sum.marks.x = [all(batch), [r, r + sh * (oh - 1), sh], [s, s + sw * (ow - 1), sw], one(c)];
      sum.marks.dy = [all(batch), all(oh), all(ow), one(k)];
    } else {
      Object.assign(sum, { left: of("dy", dy), right: literal("1", 1) });
      for (let i = index[0]; i < dy.size; i += kout) sum.at.push(i, 0);
      sum.marks.dy = [all(batch), all(oh), all(ow), one(index[0])];
    }
    return sum;
  },

  shuffle(call, tensor, index) {
    const { x, y, dy } = call.roles;
    const sum = sumOf(call, tensor, index);
    const r = call.options.factor;
    const channels = y.shape[3];
    const [n, a, b, c] = index;
    const [letter, role] = tensor === "y" ? ["x", x] : ["dy", dy];
    const tap = Math.floor(c / channels);
    const there = tensor === "y"
      ? [n, Math.floor(a / r), Math.floor(b / r), (r * (a % r) + (b % r)) * channels + c]
      : [n, r * a + Math.floor(tap / r), r * b + (tap % r), c % channels];
    return moved(sum, letter, role, there);
  },

  reshape(call, tensor, index) {
    const [here, letter] = tensor === "y" ? ["y", "x"] : ["x", "dy"];
    const role = call.roles[letter];
    const there = unravel(ravel(index, call.roles[here].shape), role.shape);
    return moved(sumOf(call, tensor, index), letter, role, there);
  },

  relu(call, tensor, index) {
    const { x, dy } = call.roles;
    const sum = sumOf(call, tensor, index);
    const up = x.at(...index) > 0;
    const [letter, role] = tensor === "y" ? ["x", x] : ["dy", dy];
    const right = literal(`slope where x ${up ? ">" : "<="} 0`, up ? 1 : call.options.slope);
    Object.assign(sum, { left: of(letter, role), right, at: [ravel(index, role.shape), 0] });
    sum.marks = { [letter]: exactly(index), x: exactly(index) };
    return sum;
  },

  sigmoid(call, tensor, index) {
    const [x, y] = [call.roles.x.at(...index), call.roles.y.at(...index)];
    const sum = sumOf(call, tensor, index);
    sum.marks = { x: exactly(index) };
    if (tensor === "y") {
      sum.formula = `1 / (1 + exp(${show(-x, 6)}))`;
      sum.result = x > -700 ? 1 / (1 + Math.exp(-x)) : 0;
      sum.needs = ["x", index];
      return sum;
    }
    return sloped(sum, call, index, "y (1 - y)", y * (1 - y), y);
  },

  tanh(call, tensor, index) {
    const [x, y] = [call.roles.x.at(...index), call.roles.y.at(...index)];
    const sum = sumOf(call, tensor, index);
    sum.marks = { x: exactly(index) };
    if (tensor === "y") {
      Object.assign(sum, { formula: `tanh(${show(x, 6)})`, result: Math.tanh(x), needs: ["x", index] });
      return sum;
    }
    return sloped(sum, call, index, "1 - y\u00b2", 1 - y * y, y);
  },
};

// The bias with which a sum begins.
const started = (b, at) => (b ? { letter: "b", index: [at], name: nameOf("b", [at]), value: b.get(at) } : null);

// Which taps met a row of the bordered input, and in which output row: [[tap, output], ...].
function met(row, taps, stride, outputs) {
  const pairs = [];
  for (let i = 0; i < taps; i++) {
    const p = (row - i) / stride;
    if (Number.isInteger(p) && p >= 0 && p < outputs) pairs.push([i, p]);
  }
  return pairs;
}

// [low, high, step] of one side of those pairs.
function span(pairs, side) {
  const list = pairs.map((pair) => pair[side]).sort((a, b) => a - b);
  return list.length ? [list[0], list.at(-1), list.length > 1 ? list[1] - list[0] : 1] : [0, -1, 1];
}

function moved(sum, letter, role, there) {
  Object.assign(sum, { left: of(letter, role), right: literal("1", 1), at: [ravel(there, role.shape), 0] });
  sum.marks = { [letter]: exactly(there) };
  return sum;
}

function sloped(sum, call, index, name, slope, y) {
  const { dy } = call.roles;
  Object.assign(sum, { left: of("dy", dy), right: literal(name, slope), at: [ravel(index, dy.shape), 0] });
  sum.note = `y = ${show(y, 6)}`;
  sum.marks = { dy: exactly(index), y: exactly(index) };
  return sum;
}

// One number of y, dx or a parameter's gradient of one call.
function explainCall(call, tensor, index) {
  if (EXPLAIN[call.kind]) return EXPLAIN[call.kind](call, tensor, index);
  const sum = sumOf(call, tensor, index);
  Object.assign(sum, { formula: "unknown", result: sum.value, unknown: true });
  return sum;
}

// A parameter's gradient over all calls of its layer.
function explainShared(calls, tensor, index) {
  const role = calls[0].sums[tensor];
  const equation = `the layer was used ${calls.length} times, so its gradient is ` +
    calls.map((call) => `${tensor} from ${call.chain}`).join(" + ");
  const sum = new Sum(`${calls[0].name}.${nameOf(tensor, index)}`, equation, role.at(...index));
  sum.own = role.source.own;
  sum.parts = calls.map((call) => [call.chain, explainCall(call, tensor, index)]);
  return sum;
}

// What is given and not made: a parameter, the first x, the target.
function given(name, why, value) {
  return Object.assign(new Sum(name, why, value), { formula: "as it was", result: value, given: true });
}

const LOSSES = {
  mse: {
    letter: "(y - t)\u00b2",
    each: (y, t) => (y - t) ** 2,
    slope: "2 (y - t)",
    factor: (y, t) => 2 * (y - t),
  },
  mae: {
    letter: "|y - t|",
    each: (y, t) => Math.abs(y - t),
    slope: "sign(y - t)",
    factor: (y, t) => Math.sign(y - t),
  },
  bce: {
    letter: "-t log p - (1 - t) log(1 - p)",
    each: (y, t) => Math.max(y, 0) - t * y + Math.log1p(Math.exp(-Math.abs(y))),
    slope: "sigmoid(y) - t",
    factor: (y, t) => (y > -700 ? 1 / (1 + Math.exp(-y)) : 0) - t,
  },
};
const endLabel = (end) => (end.chain ? `${end.chain}:loss` : "loss");

// One number of the dy with which the way back begins.
function explainEnd(end, index) {
  const { y, target, dy } = end.roles;
  const sum = new Sum(`${endLabel(end)}.${nameOf("dy", index)}`, end.equations.dy, dy.at(...index));
  const loss = LOSSES[end.kind];
  if (!loss) return Object.assign(sum, { formula: "unknown", result: sum.value, unknown: true });
  const [a, t] = [y.at(...index), target.at(...index)];
  sum.left = literal(loss.slope, loss.factor(a, t));
  sum.right = literal(`1 / ${y.size}`, 1 / y.size);
  sum.at = [0, 0];
  sum.note = `y = ${show(a, 6)}, t = ${show(t, 6)}`;
  sum.marks = { y: exactly(index), target: exactly(index) };
  return sum;
}

// The loss of one chain: the mean of what each output adds.
function explainLoss(end) {
  const { y, target } = end.roles;
  const sum = new Sum(endLabel(end), end.equations.loss, end.value ?? NaN);
  const loss = LOSSES[end.kind];
  if (!loss) return Object.assign(sum, { formula: "unknown", result: sum.value, unknown: true });
  const values = Float64Array.from({ length: y.size }, (_, i) => loss.each(y.get(i), target.get(i)));
  sum.left = { ...listed((i) => `${loss.letter} at ${nameOf("", unravel(i, y.shape))}`, values), letter: "dy" };
  sum.left.index = (i) => unravel(i, y.shape);
  sum.right = literal(`1 / ${y.size}`, 1 / y.size);
  for (let i = 0; i < y.size; i++) sum.at.push(i, 0);
  sum.marks = { y: whole(y.shape), target: whole(target.shape) };
  return sum;
}

// The loss of the whole step, where it has several chains.
function explainTotal() {
  const equation = `loss = ${told.ends.map((end) => `loss of ${end.chain}`).join(" + ")}`;
  const sum = new Sum("loss", equation, told.loss ?? NaN);
  sum.parts = told.ends.map((end) => [end.chain, explainLoss(end)]);
  return sum;
}
