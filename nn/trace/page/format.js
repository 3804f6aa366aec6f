// Numbers and names as text.

const MINUS = "\u2212";

// As Python's %.{digits}g.
function show(value, digits = 9) {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : `${MINUS}inf`;
  if (value === 0) return "0";
  const [fraction, power] = value.toExponential(digits - 1).split("e").map(Number);
  const text = power < -4 || power >= digits
    ? `${fraction}e${power}`
    : String(Number(value.toFixed(Math.max(0, Math.min(100, digits - 1 - power)))));
  return text.replaceAll("-", MINUS);
}

const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
const percent = (share) =>
  share === 0 ? "0 %" : share < 0.001 ? "< 0.1 %" : `${show(100 * share, share < 0.1 ? 2 : 3)} %`;
const shapeText = (shape) => `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;
const nameOf = (tensor, index) => `${tensor}[${index.join(",")}]`;
const product = (shape) => shape.reduce((a, b) => a * b, 1);
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// The place of an index in memory, and back: the last index runs fastest.
function ravel(index, shape) {
  let flat = 0;
  for (let d = 0; d < shape.length; d++) flat = flat * shape[d] + index[d];
  return flat;
}

function unravel(flat, shape) {
  const index = new Array(shape.length);
  for (let d = shape.length - 1; d >= 0; d--) {
    index[d] = flat % shape[d];
    flat = Math.floor(flat / shape[d]);
  }
  return index;
}

// The sum, rounded once: Shewchuk's partial sums, as math.fsum.
function fsum(values) {
  const partials = [];
  for (let x of values) {
    if (!Number.isFinite(x)) return values.reduce((a, b) => a + b, 0);
    let kept = 0;
    for (let y of partials) {
      if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
      const high = x + y;
      const low = y - (high - x);
      if (low) partials[kept++] = low;
      x = high;
    }
    partials.length = kept;
    partials.push(x);
  }
  let n = partials.length;
  if (!n) return 0;
  let high = partials[--n];
  let low = 0;
  while (n > 0) {
    const x = high;
    const y = partials[--n];
    high = x + y;
    low = y - (high - x);
    if (low !== 0) break;
  }
  if (n > 0 && low !== 0 && low < 0 === partials[n - 1] < 0) {
    const twice = 2 * low;
    const x = high + twice;
    if (twice === x - high) high = x;
  }
  return high;
}

// An equation, to be broken between its words only.
const words = (text) => text.split(" ").flatMap((word) => [make("span", { class: "word", text: word }), " "]);

// An element: tag, {attributes; on...: listeners; text}, children.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
