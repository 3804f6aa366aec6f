// How the numbers of a tensor lie in a picture: tiles of rows and columns.
//
// A layout is {tiles, rows, columns, flat(tile, row, column), place(flat), label(tile), lies, multiple}; flat is -1 where there is
// no number, place is null where a number is not in the picture (another example, another filter). `lies` says it in
// words, tiles stand side by side in a `multiple` of so many. Where `colours` is true, a cell is three numbers, flat and the two behind it.

const FEW = 64; // what still stands in one row

// Pictures: (N, H, W, 3) of a model's input or output.
function pictures([batch, rows, columns]) {
  return {
    tiles: batch,
    rows,
    columns,
    colours: true,
    lies: "",
    label: (n) => `example ${n}`,
    flat: (n, r, s) => ((n * rows + r) * columns + s) * 3,
    place: (flat) => {
      const [n, r, s] = unravel(Math.floor(flat / 3), [batch, rows, columns]);
      return [n, r, s];
    },
  };
}

// Feature maps: (N, H, W, C), one tile for each channel of one example.
function maps([, rows, columns, channels], n) {
  const size = rows * columns * channels;
  return {
    tiles: channels,
    rows,
    columns,
    lies: "",
    label: (c) => `c ${c}`,
    flat: (c, r, s) => ((n * rows + r) * columns + s) * channels + c,
    place: (flat) => {
      if (Math.floor(flat / size) !== n) return null;
      const [r, s, c] = unravel(flat % size, [rows, columns, channels]);
      return [c, r, s];
    },
  };
}

// Kernels: (KH, KW, C, K). `by` says which tiles: "k", the channels of filter `at`; "c", what all filters have for input
// channel `at`; "all", every filter in a row of its channels.
function filters([rows, columns, channels, outputs], by, at) {
  const cell = (r, s, c, k) => ((r * columns + s) * channels + c) * outputs + k;
  const split = { k: (t) => [t, at], c: (t) => [at, t], all: (t) => [t % channels, Math.floor(t / channels)] }[by];
  return {
    tiles: { k: channels, c: outputs, all: channels * outputs }[by],
    rows,
    columns,
    lies: "",
    multiple: by === "all" ? channels : 1,
    label: (t) => {
      const [c, k] = split(t);
      return { k: `c ${c}`, c: `k ${k}`, all: channels === 1 ? `k ${k}` : `k${k} c${c}` }[by];
    },
    flat: (t, r, s) => cell(r, s, ...split(t)),
    place: (flat) => {
      const [r, s, c, k] = unravel(flat, [rows, columns, channels, outputs]);
      if ((by === "k" && k !== at) || (by === "c" && c !== at)) return null;
      return [{ k: c, c: k, all: k * channels + c }[by], r, s];
    },
  };
}

// (I, O) as it is written.
function matrix([rows, columns], batch = false) {
  return {
    tiles: 1,
    rows,
    columns,
    lies: batch ? "a row for each example n" : "rows i, columns o",
    label: () => "",
    flat: (_, r, s) => r * columns + s,
    place: (flat) => [0, Math.floor(flat / columns), flat % columns],
  };
}

// `size` numbers from `first` on, in rows of `columns`.
function wrapped(first, size, columns) {
  return {
    tiles: 1,
    rows: Math.ceil(size / columns),
    columns,
    lies: size > columns ? `read like text, ${columns} in a row` : "",
    label: () => "",
    flat: (_, r, s) => (r * columns + s < size ? first + r * columns + s : -1),
    place: (flat) => {
      const i = flat - first;
      return i < 0 || i >= size ? null : [0, Math.floor(i / columns), i % columns];
    },
  };
}

// The layout of a tensor: by its letter, its shape and what the reader has chosen.
function layoutOf(letter, shape, { n, colours, by, at }) {
  const parameter = !["x", "y", "dx", "dy", "target"].includes(letter);
  if (parameter) {
    if (shape.length === 4) return filters(shape, by, at);
    if (shape.length === 2) return matrix(shape);
    const columns = shape.length === 1 ? (shape[0] <= FEW ? Math.max(shape[0], 1) : 32) : shape.at(-1);
    return wrapped(0, product(shape), columns);
  }
  if (shape.length === 4) return colours ? pictures(shape) : maps(shape, n);
  if (shape.length === 1) return wrapped(0, shape[0], Math.min(Math.max(shape[0], 1), 32));
  const size = product(shape.slice(1));
  if (shape.length === 2) return size <= FEW ? matrix(shape, true) : wrapped(n * size, size, 32);
  return wrapped(n * size, size, shape.at(-1));
}
