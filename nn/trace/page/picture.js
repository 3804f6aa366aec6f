// A tensor as a picture: a canvas that draws the numbers in sight, says which is under the pointer or the cursor, and
// outlines those that take part in a sum.

const LEVELS = 256;
const GAP = 8;
const LABEL = 13;
const ROOMY = 230; // pixels of height that small tensors may grow to

// Zero is white, positive goes to orange, negative to blue, which ends darker, so that the two differ without colour as
// well; or from black to white.
const BLUE = [[104, 162, 220], [12, 48, 122]];
const ORANGE = [[246, 172, 88], [198, 84, 0]];
const palettes = { colour: colourPalette(), grey: greyPalette() };

function colourPalette() {
  const table = new Uint32Array(2 * LEVELS + 1);
  const white = [252, 252, 250];
  for (let i = -LEVELS; i <= LEVELS; i++) {
    const [middle, end] = i < 0 ? BLUE : ORANGE;
    const share = Math.abs(i) / LEVELS;
    const [from, to, t] = share < 0.5 ? [white, middle, 2 * share] : [middle, end, 2 * share - 1];
    table[i + LEVELS] = rgba(from.map((f, c) => f + (to[c] - f) * t));
  }
  return table;
}

function greyPalette() {
  return Uint32Array.from({ length: 2 * LEVELS + 1 }, (_, i) => rgba([0, 0, 0].map(() => 8 + (i / (2 * LEVELS)) * 244)));
}

function rgba([r, g, b]) {
  return (255 << 24 | Math.round(b) << 16 | Math.round(g) << 8 | Math.round(r)) >>> 0;
}

const NOT_A_NUMBER = rgba([200, 0, 120]);
const scratch = document.createElement("canvas");

class Picture {
  // host: where the picture goes. options: {letter, role, name, layout(), scale, pick(flat), said(text), palette()}
  constructor(host, options) {
    Object.assign(this, options);
    this.cursor = null; // a flat place, by keyboard
    this.zoom = 1;
    this.canvas = make("canvas");
    this.space = make("div", { class: "space" }, this.canvas);
    this.scroll = make("div", {
      class: "scroll",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "picture of numbers",
      "aria-label": `${this.name}, ${shapeText(this.role.shape)}. Arrow keys move over the numbers, Enter explains one.`,
      onscroll: () => this.later(),
      onpointermove: (event) => this.point(event),
      onpointerleave: () => this.point(null),
      onclick: (event) => this.click(event),
      onkeydown: (event) => this.key(event),
      onfocus: () => this.later(),
      onblur: () => this.later(),
    }, this.space);
    this.readout = make("output", { class: "readout", "aria-hidden": "true" });
    host.append(this.scroll, this.readout);
    this.watch = new ResizeObserver(() => this.arrange());
    this.watch.observe(this.scroll);
    this.ready = this.role.load().then(() => this.arrange());
  }

  close() {
    this.watch.disconnect();
  }

  // Sizes: pixels of a cell, tiles side by side, the room for all of them.
  arrange() {
    this.view = this.layout();
    const { rows, columns, tiles, multiple = 1 } = this.view;
    const width = Math.max(this.scroll.clientWidth, 60);
    const beside = tiles <= 4 ? Math.min(tiles, 2) : Math.max(Math.round(width / 112), 1);
    const wanted = Math.min((width - GAP) / beside - GAP, tiles === 1 ? width : 200);
    const most = tiles === 1 ? (rows === 1 ? 22 : 16) : Math.max(rows, columns) <= 7 ? 11 : 22;
    const exact = wanted / (tiles === 1 ? columns : Math.max(rows, columns));
    let fit = Math.min(exact < 4 ? Math.floor(exact * 2) / 2 : Math.floor(exact), most);
    const room = (cell) => {
      const beside = Math.floor((width - GAP) / (columns * cell + GAP));
      const across = beside > multiple ? beside - (beside % multiple) : beside;
      return across > 0 && Math.ceil(tiles / across) * (rows * cell + LABEL + GAP) + GAP <= ROOMY;
    };
    while (fit < 28 && room(fit + 1)) fit++;
    const least = tiles === 1 ? (columns * rows > 4096 ? 6 : 4) : 2;
    this.cell = Math.max(Math.max(fit, least) * this.zoom, 1);
    this.tileWidth = columns * this.cell;
    this.label = tiles > 1 ? LABEL : 0;
    this.tileHeight = rows * this.cell + this.label;
    let across = clamp(Math.floor((width - GAP) / (this.tileWidth + GAP)), 1, tiles);
    if (across > multiple) across -= across % multiple;
    this.across = across;
    const down = Math.ceil(tiles / across);
    this.fullWidth = across * (this.tileWidth + GAP) + GAP;
    this.fullHeight = down * (this.tileHeight + GAP) + GAP;
    this.space.style.width = `${this.fullWidth}px`;
    this.space.style.height = `${this.fullHeight}px`;
    this.later();
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  // The upper left corner of a tile's numbers.
  corner(tile) {
    const [line, column] = [Math.floor(tile / this.across), tile % this.across];
    return [GAP + column * (this.tileWidth + GAP), GAP + line * (this.tileHeight + GAP) + this.label];
  }

  draw() {
    if (!this.view || !this.role.source.ready || !this.scroll.isConnected) return;
    const [width, height] = [this.scroll.clientWidth, this.scroll.clientHeight];
    const ratio = window.devicePixelRatio || 1;
    const { canvas } = this;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    ctx.imageSmoothingEnabled = false;
    ctx.translate(-this.scroll.scrollLeft, -this.scroll.scrollTop);
    const [left, top] = [this.scroll.scrollLeft, this.scroll.scrollTop];
    const first = Math.max(0, Math.floor((top - GAP) / (this.tileHeight + GAP))) * this.across;
    for (let tile = first; tile < this.view.tiles; tile++) {
      const [x, y] = this.corner(tile);
      if (y - this.label > top + height) break;
      if (x > left + width || x + this.tileWidth < left) continue;
      this.drawTile(ctx, tile, x, y, [left, top, width, height]);
    }
    this.drawMarks(ctx);
  }

  // The rows and columns of a tile that are in sight: [first row, end, first column, end].
  inSight(x, y, [left, top, width, height]) {
    const { rows, columns } = this.view;
    return [
      clamp(Math.floor((top - y) / this.cell), 0, rows),
      clamp(Math.ceil((top + height - y) / this.cell), 0, rows),
      clamp(Math.floor((left - x) / this.cell), 0, columns),
      clamp(Math.ceil((left + width - x) / this.cell), 0, columns),
    ];
  }

  drawTile(ctx, tile, x, y, sight) {
    const [r0, r1, s0, s1] = this.inSight(x, y, sight);
    if (this.label) {
      ctx.fillStyle = "#5f5f5f";
      ctx.font = "10px system-ui, sans-serif";
      ctx.textBaseline = "alphabetic";
      const label = this.view.label(tile);
      const room = this.tileWidth + GAP - 2;
      const short = label.replaceAll(/[a-z ]+(?=\d)/g, "");
      const text = [label, short].find((text) => ctx.measureText(text).width <= room);
      if (text) ctx.fillText(text, x, y - 3);
    }
    if (r1 > r0 && s1 > s0) {
      const image = new ImageData(s1 - s0, r1 - r0);
      const pixels = new Uint32Array(image.data.buffer);
      const scale = this.scaleOf(tile);
      let at = 0;
      for (let r = r0; r < r1; r++) {
        for (let s = s0; s < s1; s++) pixels[at++] = this.colour(this.view.flat(tile, r, s), scale);
      }
      if (scratch.width < image.width) scratch.width = image.width;
      if (scratch.height < image.height) scratch.height = image.height;
      scratch.getContext("2d").putImageData(image, 0, 0);
      const box = [x + s0 * this.cell, y + r0 * this.cell, image.width * this.cell, image.height * this.cell];
      ctx.drawImage(scratch, 0, 0, image.width, image.height, ...box);
      if (this.cell >= 9) this.drawGrid(ctx, box);
    }
    ctx.strokeStyle = "#0003";
    ctx.lineWidth = 1;
    ctx.strokeRect(x - 0.5, y - 0.5, this.tileWidth + 1, this.tileHeight - this.label + 1);
  }

  drawGrid(ctx, [x, y, width, height]) {
    ctx.beginPath();
    for (let s = x; s <= x + width; s += this.cell) ctx.rect(s, y, 0, height);
    for (let r = y; r <= y + height; r += this.cell) ctx.rect(x, r, width, 0);
    ctx.strokeStyle = "#0000000f";
    ctx.lineWidth = 1;
    ctx.stroke();
  }

  // What the strongest colour stands for.
  scaleOf(tile) {
    if (!this.each() || this.view.tiles === 1 || this.view.colours) return this.scale || 1;
    let largest = 0;
    for (let r = 0; r < this.view.rows; r++) {
      for (let s = 0; s < this.view.columns; s++) {
        const size = Math.abs(this.role.get(this.view.flat(tile, r, s)));
        if (size > largest && size < Infinity) largest = size;
      }
    }
    return largest || 1;
  }

  colour(flat, scale) {
    if (flat < 0) return 0;
    const { source } = this.role;
    if (this.view.colours) {
      const { min, max } = source.stats;
      const [low, wide] = min >= 0 && max <= 1 ? [0, 1] : [min, max - min || 1]; // outside of 0 to 1: stretched
      const byte = (i) => clamp(Math.round((255 * (source.get(flat + i) - low)) / wide), 0, 255);
      return rgba([byte(0), byte(1), byte(2)]);
    }
    const value = source.get(flat);
    if (Number.isNaN(value)) return NOT_A_NUMBER;
    return this.palette()[LEVELS + Math.round(LEVELS * clamp(value / scale, -1, 1))];
  }

  // marks: [low, high, step] for each index. The rim of what they cover is outlined.
  drawMarks(ctx) {
    const { marks, selected, pair } = this.highlights();
    const size = Math.max(this.cell, 7);
    const single = marks?.every(([low, high]) => low === high) ? this.placeOf(ravel(marks.map(([low]) => low), this.role.shape)) : null;
    if (single) this.ring(ctx, single, size, 1.5, false);
    else if (marks) this.drawRegion(ctx, marks);
    for (const [flat, width] of [[pair, 3], [selected, 2.5]]) {
      const place = flat === null || flat === undefined ? null : this.placeOf(flat);
      if (place) this.ring(ctx, place, size, width, flat === pair);
    }
    if (this.cursor !== null && document.activeElement === this.scroll) {
      const place = this.placeOf(this.cursor);
      if (place) {
        ctx.setLineDash([3, 2]);
        this.ring(ctx, place, size + 4, 2, false);
        ctx.setLineDash([]);
      }
    }
  }

  placeOf(flat) {
    const place = this.view.place(flat);
    if (!place) return null;
    const [x, y] = this.corner(place[0]);
    return [x + (place[2] + 0.5) * this.cell, y + (place[1] + 0.5) * this.cell];
  }

  ring(ctx, [x, y], size, width, cross) {
    const half = size / 2 + 1;
    for (const [colour, wide] of [["#fff", width + 2], ["#111", width]]) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = wide;
      ctx.strokeRect(x - half, y - half, 2 * half, 2 * half);
      if (!cross) continue;
      ctx.beginPath();
      for (const [a, b] of [[-1, 0], [1, 0], [0, -1], [0, 1]]) {
        ctx.moveTo(x + a * half, y + b * half);
        ctx.lineTo(x + a * (half + 6), y + b * (half + 6));
      }
      ctx.stroke();
    }
  }

  drawRegion(ctx, marks) {
    const { shape } = this.role;
    const flags = marks.map(([low, high, step], d) => {
      const inside = new Uint8Array(shape[d]);
      for (let i = low; i <= high; i += step) if (i >= 0 && i < shape[d]) inside[i] = 1;
      return inside;
    });
    const member = (tile, r, s) => {
      if (r < 0 || s < 0 || r >= this.view.rows || s >= this.view.columns) return false;
      let flat = this.view.flat(tile, r, s);
      if (flat < 0) return false;
      for (let d = shape.length - 1; d >= 0; d--) {
        const index = flat % shape[d];
        if (!flags[d][index] && !(this.view.colours && d === shape.length - 1)) return false;
        flat = (flat - index) / shape[d];
      }
      return true;
    };
    const dotted = marks.some(([low, high, step]) => step > 1 && high > low);
    const rim = new Path2D();
    const dots = new Path2D();
    const sight = [this.scroll.scrollLeft, this.scroll.scrollTop, this.scroll.clientWidth, this.scroll.clientHeight];
    for (let tile = 0; tile < this.view.tiles; tile++) {
      const [x, y] = this.corner(tile);
      if (y > sight[1] + sight[3] || y + this.tileHeight < sight[1]) continue;
      const [r0, r1, s0, s1] = this.inSight(x, y, sight);
      const c = this.cell;
      for (let r = r0; r < r1; r++) {
        for (let s = s0; s < s1; s++) {
          if (!member(tile, r, s)) continue;
          const [a, b] = [x + s * c, y + r * c];
          if (dotted && c < 7) {
            dots.rect(a + c / 2 - 0.75, b + c / 2 - 0.75, 1.5, 1.5);
            continue;
          }
          if (!member(tile, r - 1, s)) rim.moveTo(a, b), rim.lineTo(a + c, b);
          if (!member(tile, r + 1, s)) rim.moveTo(a, b + c), rim.lineTo(a + c, b + c);
          if (!member(tile, r, s - 1)) rim.moveTo(a, b), rim.lineTo(a, b + c);
          if (!member(tile, r, s + 1)) rim.moveTo(a + c, b), rim.lineTo(a + c, b + c);
        }
      }
      this.drawBeyond(ctx, marks, tile, x, y);
    }
    ctx.fillStyle = "#111";
    ctx.fill(dots);
    for (const [colour, width] of [["#ffffffd0", 3.5], ["#111", 1.5]]) {
      ctx.strokeStyle = colour;
      ctx.lineWidth = width;
      ctx.stroke(rim);
    }
  }

  // A window that reaches over the edge, into the border of zeros: dashed.
  drawBeyond(ctx, marks, tile, x, y) {
    const { shape } = this.role;
    if (shape.length !== 4 || marks.length !== 4 || this.letter !== "x") return;
    const [, rows, columns] = marks;
    if (rows[0] >= 0 && columns[0] >= 0 && rows[1] < shape[1] && columns[1] < shape[2]) return;
    const flat = this.view.flat(tile, 0, 0);
    const [n, , , c] = unravel(flat, shape);
    const within = ([low, high], i) => i >= low && i <= high;
    if (!within(marks[0], n) || !(this.view.colours || within(marks[3], c))) return;
    ctx.setLineDash([3, 3]);
    ctx.strokeStyle = "#111";
    ctx.lineWidth = 1;
    const most = GAP - 2; // no further than to the next tile
    const reach = ([low, high], size) =>
      [Math.max(low * this.cell, -most), Math.min((high + 1) * this.cell, size * this.cell + most)];
    const [[left, right], [top, bottom]] = [reach(columns, shape[2]), reach(rows, shape[1])];
    ctx.strokeRect(x + left, y + top, right - left, bottom - top);
    ctx.setLineDash([]);
  }

  // The flat place under a pointer, or -1.
  under(event) {
    if (!this.view || !this.role.source.ready) return -1;
    const box = this.scroll.getBoundingClientRect();
    const x = event.clientX - box.left - this.scroll.clientLeft + this.scroll.scrollLeft - GAP;
    const y = event.clientY - box.top - this.scroll.clientTop + this.scroll.scrollTop - GAP;
    const [column, line] = [Math.floor(x / (this.tileWidth + GAP)), Math.floor(y / (this.tileHeight + GAP))];
    const tile = line * this.across + column;
    if (x < 0 || y < 0 || column >= this.across || tile >= this.view.tiles) return -1;
    const r = Math.floor((y - line * (this.tileHeight + GAP) - this.label) / this.cell);
    const s = Math.floor((x - column * (this.tileWidth + GAP)) / this.cell);
    if (r < 0 || s < 0 || r >= this.view.rows || s >= this.view.columns) return -1;
    return this.view.flat(tile, r, s);
  }

  text(flat) {
    const { shape, source } = this.role;
    const value = (i) => show(source.get(i), source.digits);
    if (!this.view.colours) return `${nameOf(this.letter, unravel(flat, shape))} = ${value(flat)}`;
    const index = unravel(flat, shape).slice(0, 3);
    const [red, green, blue] = [0, 1, 2].map((i) => show(source.get(flat + i), Math.min(source.digits, 6)));
    return `${this.letter}[${index.join(",")},:] = red ${red}, green ${green}, blue ${blue}`;
  }

  point(event) {
    const flat = event ? this.under(event) : -1;
    this.say(flat);
    this.scroll.classList.toggle("over", flat >= 0);
  }

  // The number under the pointer; else the one that is explained, where it is one of these.
  say(flat = -1) {
    const selected = flat >= 0 ? flat : this.highlights().selected;
    this.readout.textContent = selected === null || !this.role.source.ready ? "" : this.text(selected);
    this.readout.classList.toggle("resting", flat < 0);
  }

  click(event) {
    const flat = this.under(event);
    if (flat < 0) return;
    this.cursor = flat;
    this.pick(flat);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.view) return;
    const { selected } = this.highlights();
    const start = this.cursor ?? selected ?? this.view.flat(0, 0, 0);
    const moves = {
      ArrowLeft: [0, -1, 0], ArrowRight: [0, 1, 0], ArrowUp: [-1, 0, 0], ArrowDown: [1, 0, 0],
      PageUp: [0, 0, -1], PageDown: [0, 0, 1],
    };
    if (event.key === "Enter" || event.key === " ") {
      this.pick(start);
    } else if (moves[event.key]) {
      this.move(start, ...moves[event.key]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // One cell on; over the edge of a tile, to its neighbour.
  move(from, down, right, tiles) {
    let [tile, r, s] = this.view.place(from) ?? [0, 0, 0];
    const { rows, columns } = this.view;
    if (this.cursor === null && !tiles) return this.go(this.view.flat(tile, r, s));
    const line = tile % this.across;
    [r, s] = [r + down, s + right];
    if (s < 0 && line > 0) [tile, s] = [tile - 1, columns - 1];
    else if (s >= columns && line < this.across - 1 && tile + 1 < this.view.tiles) [tile, s] = [tile + 1, 0];
    else if (r < 0 && tile >= this.across) [tile, r] = [tile - this.across, rows - 1];
    else if (r >= rows && tile + this.across < this.view.tiles) [tile, r] = [tile + this.across, 0];
    tile = clamp(tile + tiles, 0, this.view.tiles - 1);
    const flat = this.view.flat(tile, clamp(r, 0, rows - 1), clamp(s, 0, columns - 1));
    return this.go(flat < 0 ? from : flat);
  }

  go(flat) {
    this.cursor = flat;
    this.reveal(flat);
    this.say(flat);
    this.said(this.text(flat));
    this.later();
  }

  // Scrolls so that the number is in sight.
  reveal(flat) {
    const place = this.view && this.placeOf(flat);
    if (!place) return;
    const { scroll } = this;
    const margin = this.cell / 2 + GAP + this.label;
    const shift = (at, from, size) => (at - margin < from || at + margin > from + size ? at - size / 2 : from);
    const left = shift(place[0], scroll.scrollLeft, scroll.clientWidth);
    const top = shift(place[1], scroll.scrollTop, scroll.clientHeight);
    if (left !== scroll.scrollLeft || top !== scroll.scrollTop) scroll.scrollTo(left, top);
  }
}
