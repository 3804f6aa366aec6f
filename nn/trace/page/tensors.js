// The tensors: decoded when first shown, or made here from others. pack.py writes what is read here.

const told = JSON.parse(document.getElementById("contents").textContent);
const FRACTION = { float32: 23, float64: 52 };

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";
const digitOf = new Uint8Array(128);
for (let i = 0; i < 85; i++) digitOf[DIGITS.charCodeAt(i)] = i;

// Base 85: five digits for four bytes.
function bytesOf(text) {
  const bytes = new Uint8Array(Math.ceil(text.length / 5) * 4);
  const digit = (i) => (i < text.length ? digitOf[text.charCodeAt(i)] : 84);
  for (let i = 0, at = 0; i < text.length; i += 5) {
    const high = (digit(i) * 85 + digit(i + 1)) * 85 + digit(i + 2);
    const word = (high * 85 + digit(i + 3)) * 85 + digit(i + 4);
    bytes[at++] = word / 0x1000000;
    bytes[at++] = word >>> 16;
    bytes[at++] = word >>> 8;
    bytes[at++] = word;
  }
  return bytes.subarray(0, bytes.length - ((5 - (text.length % 5)) % 5));
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Byte planes, most significant first -> numbers. A plane of zeros is an empty text.
async function unpack(id, dtype, size) {
  const element = document.getElementById(`t${id}`);
  const planes = element.textContent.split(" ");
  element.textContent = ""; // it is needed once
  const width = planes.length;
  const little = new Uint8Array(size * width);
  const put = async (text, place) => {
    if (!text) return;
    const plane = await inflated(bytesOf(text));
    for (let i = 0; i < size; i++) little[i * width + place] = plane[i];
  };
  await Promise.all(planes.map((text, i) => put(text, width - 1 - i)));
  return dtype === "float64" ? new Float64Array(little.buffer) : new Float32Array(little.buffer);
}

// Decimal digits worth showing of numbers with so many bits.
const digitsOf = (bits) => (bits >= 23 ? 9 : Math.ceil(bits * Math.log10(2)) + 1);

// A run of numbers; get(i) answers once load() is done.
class Source {
  constructor(about) {
    this.stats = about;
    this.size = about.size;
    this.dtype = about.dtype;
    this.values = null;
    this.loading = null;
    this.ready = false;
  }

  // Whether these are the engine's own numbers, and not sums that the page made instead.
  get own() {
    const made = this.stats.made;
    if (!made || made.how === "slope" || made.how.endsWith("shuffle")) return true;
    return made.how === "sum" && made.of.every((id) => sources[id].own);
  }

  // Fraction bits that were kept: of these numbers, or of the worst of those they are made from.
  get bits() {
    const { made, bits } = this.stats;
    if (!made) return bits;
    return Math.min(...madeFrom(made).map((id) => sources[id].bits));
  }

  // Decimal digits worth showing.
  get digits() {
    return digitsOf(this.bits);
  }

  load() {
    this.loading ??= this.fill().then(() => {
      this.ready = true;
      return this;
    });
    return this.loading;
  }

  async fill() {
    const { made } = this.stats;
    if (!made) {
      this.values = await unpack(sources.indexOf(this), this.dtype, this.size);
      return;
    }
    const from = await Promise.all(madeFrom(made).map((id) => sources[id].load()));
    if (made.how === "terms") this.compute = gradientOf(told.calls[made.call], made.name);
    else if (made.how === "sum") this.compute = (i) => added(from, i, this.own && this.dtype);
    else this.values = MADE[made.how](made, this.size, this.dtype, ...from);
    if (made.how === "terms") this.memo = new Float64Array(this.size).fill(NaN);
  }

  get(i) {
    if (this.values) return this.values[i];
    if (!this.memo) return this.compute(i);
    if (Number.isNaN(this.memo[i])) this.memo[i] = this.compute(i);
    return this.memo[i];
  }
}

function madeFrom(made) {
  if (made.how === "sum") return made.of;
  if (made.how === "terms") {
    const call = told.calls[made.call];
    return [call.x[0], call.dy[0]];
  }
  return made.how === "slope" ? [made.of, made.sign] : [made.of];
}

// The shares of a shared layer's gradient, added as the engine adds them.
function added(from, i, dtype) {
  let sum = 0;
  for (const source of from) {
    sum += source.get(i);
    if (dtype === "float32") sum = Math.fround(sum);
  }
  return sum;
}

const numbers = (dtype, size) => (dtype === "float64" ? new Float64Array(size) : new Float32Array(size));

// What the page makes to the last bit instead of carrying it.
const MADE = {
  // Rounded once to the array's own type, as the engine's product is.
  slope(made, size, dtype, of, sign) {
    const values = numbers(dtype, size);
    for (let i = 0; i < size; i++) values[i] = of.get(i) * (sign.get(i) > 0 ? 1 : made.slope);
    return values;
  },
  shuffle(made, size, dtype, of) {
    const values = numbers(dtype, size);
    const to = shuffled(made);
    for (let i = 0; i < size; i++) values[to(i)] = of.get(i);
    return values;
  },
  unshuffle(made, size, dtype, of) {
    const values = numbers(dtype, size);
    const to = shuffled(made);
    for (let i = 0; i < size; i++) values[i] = of.get(to(i));
    return values;
  },
};

// Where a number of x (N, H, W, R R C) lies in y (N, H R, W R, C).
function shuffled({ shape: [, height, width, channels], factor }) {
  const c = channels / (factor * factor);
  return (i) => {
    const channel = i % channels;
    const pixel = (i - channel) / channels;
    const column = pixel % width;
    const line = (pixel - column) / width; // n H + row
    const tap = Math.floor(channel / c);
    const row = line * factor + Math.floor(tap / factor);
    return (row * width * factor + column * factor + (tap % factor)) * c + (channel % c);
  };
}

const sources = told.sources.map((about) => new Source(about));

// A tensor as an equation sees it: numbers under a shape.
class Role {
  constructor([id, shape]) {
    this.source = sources[id];
    this.shape = shape;
  }

  get size() {
    return this.source.size;
  }

  at(...index) {
    return this.source.get(ravel(index, this.shape));
  }

  get(flat) {
    return this.source.get(flat);
  }

  load() {
    return this.source.load();
  }
}

// Every [source, shape] of the calls and ends becomes a Role; a call's are also in call.roles, by the equations' letters.
for (const call of told.calls) {
  call.roles = {};
  for (const letter of ["x", "y", "dy", "dx"]) call.roles[letter] = new Role(call[letter]);
  for (const [name, role] of Object.entries(call.parameters)) call.roles[name] = new Role(role);
  for (const [name, role] of Object.entries(call.grads)) call.roles[`d${name}`] = new Role(role);
  call.sums = {};
  for (const [name, role] of Object.entries(told.sums[call.name] ?? {})) {
    call.sums[`d${name}`] = new Role(role);
  }
}
for (const end of told.ends) {
  end.roles = { y: new Role(end.y), target: new Role(end.target), dy: new Role(end.dy) };
}

// One number of dw or db without the list of its products, for pictures of gradients that the page was not given.
function gradientOf(call, name) {
  const { x, dy } = call.roles;
  const [xs, ds] = [x.source, dy.source];
  const batch = dy.shape[0];
  if (name === "db") {
    const width = dy.shape.at(-1);
    return (k) => {
      let sum = 0;
      for (let i = k; i < ds.size; i += width) sum += ds.get(i);
      return sum;
    };
  }
  if (call.kind === "dense") {
    const [inputs, outputs] = [x.shape[1], dy.shape[1]];
    return (flat) => {
      const [i, o] = [Math.floor(flat / outputs), flat % outputs];
      let sum = 0;
      for (let n = 0; n < batch; n++) sum += xs.get(n * inputs + i) * ds.get(n * outputs + o);
      return sum;
    };
  }
  const { stride: [sh, sw], border: [top, left] } = call.options;
  const [, height, width, channels] = x.shape;
  const [, oh, ow, kout] = dy.shape;
  const shape = call.roles.w.shape;
  return (flat) => {
    const [i, j, c, k] = unravel(flat, shape);
    const [xv, dv] = [xs.values, ds.values];
    let sum = 0;
    for (let n = 0; n < batch; n++) {
      for (let p = 0; p < oh; p++) {
        const r = sh * p + i - top;
        if (r < 0 || r >= height) continue;
        for (let q = 0; q < ow; q++) {
          const s = sw * q + j - left;
          if (s < 0 || s >= width) continue;
          sum += xv[((n * height + r) * width + s) * channels + c] * dv[((n * oh + p) * ow + q) * kout + k];
        }
      }
    }
    return sum;
  };
}
