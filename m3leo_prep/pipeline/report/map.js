// The map of a report: chips as typed arrays on a canvas. It reads what the page holds and asks the network for nothing.
"use strict";
(() => {
  const canvas = document.getElementById("map-canvas");
  const context = canvas.getContext("2d", { alpha: false });
  const tip = document.getElementById("map-tip");
  const said = document.getElementById("map-said");
  const choose = document.getElementById("map-colour");
  const R = 6378137;
  const TYPES = { u1: Uint8Array, u2: Uint16Array, i2: Int16Array, i4: Int32Array };
  const MISSING = { i2: -(2 ** 15), i4: -(2 ** 31) };
  let about, arrays, geometry, land, outline, columns, active, order, bounds, grid;
  let width = 0, height = 0, ratio = 1, view, home, hovered = -1, pending = false;
  const hidden = new Set();

  const lonOf = (x) => ((((x / R) * 180) / Math.PI + 540) % 360 + 360) % 360 - 180;
  const latOf = (y) => (2 * Math.atan(Math.exp(y / R)) - Math.PI / 2) * 180 / Math.PI;
  const yOf = (lat) => R * Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360));

  async function load() {
    about = JSON.parse(document.getElementById("map-about").textContent);
    const zipped = Uint8Array.from(atob(document.getElementById("map-data").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
    arrays = await new Response(stream).arrayBuffer();
    const g = about.geometry;
    geometry = { scale: g.scale };
    for (const name of ["x", "y", "ux", "uy", "vx", "vy"]) geometry[name] = take(g[name]);
    land = rings(about.land);
    outline = rings(about.outline);
    columns = about.columns.map(unpack);
    bounds = [Infinity, Infinity, -Infinity, -Infinity];
    let side = 0;
    for (let k = 0; k < about.n; k++) {
      const reach = half(k);
      side = Math.max(side, 2 * reach);
      bounds[0] = Math.min(bounds[0], geometry.x[k] - reach);
      bounds[1] = Math.min(bounds[1], geometry.y[k] - reach);
      bounds[2] = Math.max(bounds[2], geometry.x[k] + reach);
      bounds[3] = Math.max(bounds[3], geometry.y[k] + reach);
    }
    bin(side);
    choice(choose.value);
    listen();
    resize();
    document.getElementById("map-frame").dataset.ready = "yes";
  }

  const take = (where) => new TYPES[where.type](arrays, where.at, where.n);
  const half = (k) => geometry.scale * Math.max(
    Math.abs(geometry.ux[k]) + Math.abs(geometry.vx[k]), Math.abs(geometry.uy[k]) + Math.abs(geometry.vy[k]));

  function unpack(column) {
    const made = { ...column, values: take(column.data) };
    if (column.kind === "text") made.texts = new TextDecoder().decode(made.values).split("\n");
    return made;
  }

  function rings(packed) {
    const lengths = take(packed.n), dx = take(packed.dx), dy = take(packed.dy), made = [];
    for (let ring = 0, at = 0; ring < lengths.length; ring++) {
      const xs = new Float64Array(lengths[ring]), ys = new Float64Array(lengths[ring]);
      let x = 0, y = 0;
      const box = [Infinity, Infinity, -Infinity, -Infinity];
      for (let k = 0; k < xs.length; k++, at++) {
        xs[k] = x += dx[at];
        ys[k] = y += dy[at];
        box[0] = Math.min(box[0], x); box[1] = Math.min(box[1], y);
        box[2] = Math.max(box[2], x); box[3] = Math.max(box[3], y);
      }
      made.push({ xs, ys, box });
    }
    return made;
  }

  // Chips by the square of the plane that their centre lies in, to find the one under the mouse.
  function bin(side) {
    const squares = new Map();
    for (let k = 0; k < about.n; k++) {
      const key = Math.floor(geometry.x[k] / side) + "," + Math.floor(geometry.y[k] / side);
      const found = squares.get(key);
      if (found) found.push(k); else squares.set(key, [k]);
    }
    grid = { side, squares };
  }

  function at(x, y) {
    const column = Math.floor(x / grid.side), row = Math.floor(y / grid.side), g = geometry;
    for (let i = column - 1; i <= column + 1; i++) for (let j = row - 1; j <= row + 1; j++) {
      for (const k of grid.squares.get(i + "," + j) || []) {
        if (hidden.has(order.bucket[k])) continue;
        const dx = (x - g.x[k]) / g.scale, dy = (y - g.y[k]) / g.scale;
        const turn = g.ux[k] * g.vy[k] - g.uy[k] * g.vx[k];
        const u = (dx * g.vy[k] - dy * g.vx[k]) / turn, v = (g.ux[k] * dy - g.uy[k] * dx) / turn;
        if (Math.abs(u) <= 1 && Math.abs(v) <= 1) return k;
      }
    }
    return -1;
  }

  // Chips sorted by colour: a canvas is fast as long as its colour stays.
  function choice(name) {
    active = columns.find((column) => column.name === name);
    hidden.clear();
    const n = active.colours.length, bucket = new Uint16Array(about.n), counts = new Uint32Array(n + 2);
    for (let k = 0; k < about.n; k++) {
      bucket[k] = active.kind === "word" ? active.values[k] : level(active, k);
      counts[bucket[k] + 1]++;
    }
    for (let c = 0; c <= n; c++) counts[c + 1] += counts[c];
    const sorted = new Uint32Array(about.n), next = counts.slice();
    for (let k = 0; k < about.n; k++) sorted[next[bucket[k]]++] = k;
    order = { sorted, starts: counts, bucket, n: n + 1 };
    for (const legend of document.querySelectorAll("[data-legend]")) legend.hidden = legend.dataset.legend !== name;
    for (const key of document.querySelectorAll("[data-word]")) key.setAttribute("aria-pressed", "true");
  }

  function level(column, k) {
    const value = number(column, k);
    if (value === null) return column.colours.length;
    const [low, high] = column.limits;
    return Math.round((column.colours.length - 1) * Math.min(1, Math.max(0, (value - low) / (high - low))));
  }

  function number(column, k) {
    const value = column.values[k];
    return value === MISSING[column.data.type] ? null : value / 10 ** column.digits;
  }

  const X = (x) => width / 2 + (x - view.x) * view.k;
  const Y = (y) => height / 2 - (y - view.y) * view.k;

  function draw() {
    pending = false;
    const style = getComputedStyle(canvas), paint = (name) => style.getPropertyValue(name).trim();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = paint("--sea");
    context.fillRect(0, 0, width, height);
    context.lineJoin = "round";
    polygons(land);
    context.fillStyle = paint("--land");
    context.fill("evenodd");
    context.strokeStyle = paint("--border");
    context.lineWidth = 0.8;
    context.stroke();
    degrees(paint("--grid"), paint("--grid-text"));
    chips(paint);
    if (outline.length) {
      polygons(outline);
      context.strokeStyle = paint("--outline");
      context.lineWidth = 1.4;
      context.stroke();
    }
    if (hovered >= 0) {
      context.beginPath();
      quad(hovered, 0);
      context.strokeStyle = paint("--ink");
      context.lineWidth = 2;
      context.stroke();
    }
    scale(paint);
  }

  function polygons(found) {
    const west = view.x - width / 2 / view.k, east = view.x + width / 2 / view.k;
    const south = view.y - height / 2 / view.k, north = view.y + height / 2 / view.k;
    context.beginPath();
    for (const { xs, ys, box } of found) {
      if (box[2] < west || box[0] > east || box[3] < south || box[1] > north) continue;
      for (let k = 0; k < xs.length; k++) k ? context.lineTo(X(xs[k]), Y(ys[k])) : context.moveTo(X(xs[k]), Y(ys[k]));
      context.closePath();
    }
  }

  function quad(k, gap) {
    const g = geometry, s = g.scale * view.k, x = X(g.x[k]), y = Y(g.y[k]);
    const ux = g.ux[k] * s, uy = -g.uy[k] * s, vx = g.vx[k] * s, vy = -g.vy[k] * s, a = 1 - gap;
    context.moveTo(x + a * (-ux - vx), y + a * (-uy - vy));
    context.lineTo(x + a * (ux - vx), y + a * (uy - vy));
    context.lineTo(x + a * (ux + vx), y + a * (uy + vy));
    context.lineTo(x + a * (vx - ux), y + a * (vy - uy));
    context.closePath();
  }

  function chips(paint) {
    const typical = 2 * half(order.sorted[about.n >> 1]) * view.k, small = typical < 5;
    const margin = Math.max(typical, 2) * 2, gap = typical > 9 ? 0.7 / typical * 2 : 0;
    context.globalAlpha = 0.88;
    for (let c = 0; c < order.n; c++) {
      if (hidden.has(c)) continue;
      context.fillStyle = active.colours[c] || paint("--unknown");
      if (!small) context.beginPath();
      for (let i = order.starts[c]; i < order.starts[c + 1]; i++) {
        const k = order.sorted[i], x = X(geometry.x[k]), y = Y(geometry.y[k]);
        if (x < -margin || y < -margin || x > width + margin || y > height + margin) continue;
        if (small) {
          const side = Math.max(1, 2 * Math.hypot(geometry.ux[k], geometry.uy[k]) * geometry.scale * view.k);
          const left = Math.round(x - side / 2), top = Math.round(y - side / 2);
          const right = Math.round(x + side / 2), bottom = Math.round(y + side / 2);
          context.fillRect(left, top, Math.max(1, right - left), Math.max(1, bottom - top));
        } else quad(k, gap);
      }
      if (!small) context.fill();
    }
    context.globalAlpha = 1;
  }

  function round(span) {
    const decade = 10 ** Math.floor(Math.log10(span));
    return [5, 2, 1].map((step) => step * decade).find((step) => step <= span) || decade;
  }

  function degrees(line, text) {
    const step = round((120 / view.k / R) * (180 / Math.PI) * 1.6), digits = Math.max(0, -Math.floor(Math.log10(step)));
    context.strokeStyle = line;
    context.fillStyle = text;
    context.lineWidth = 0.7;
    context.font = "11px system-ui, sans-serif";
    const west = ((view.x - width / 2 / view.k) / R) * 180 / Math.PI, east = ((view.x + width / 2 / view.k) / R) * 180 / Math.PI;
    context.beginPath();
    const labels = [];
    for (let lon = Math.ceil(west / step) * step; lon <= east; lon += step) {
      const x = Math.round(X((lon * Math.PI * R) / 180)) + 0.5, here = lonOf((lon * Math.PI * R) / 180);
      context.moveTo(x, 0);
      context.lineTo(x, height);
      labels.push([`${Math.abs(here).toFixed(digits)}° ${here < -1e-9 ? "W" : "E"}`, x + 4, height - 6]);
    }
    const south = latOf(view.y - height / 2 / view.k), north = latOf(view.y + height / 2 / view.k);
    for (let lat = Math.ceil(south / step) * step; lat <= Math.min(north, 85); lat += step) {
      const y = Math.round(Y(yOf(lat))) + 0.5;
      context.moveTo(0, y);
      context.lineTo(width, y);
      if (y < height - 60) labels.push([`${Math.abs(lat).toFixed(digits)}° ${lat < -1e-9 ? "S" : "N"}`, width - 6, y - 4, "right"]);
    }
    context.stroke();
    for (const [label, x, y, side] of labels) {
      context.textAlign = side || "left";
      context.fillText(label, x, y);
    }
    context.textAlign = "left";
  }

  function scale(paint) {
    const ground = Math.cos((latOf(view.y) * Math.PI) / 180) / view.k, metres = round(130 * ground), long = metres / ground;
    const label = metres >= 1000 ? `${metres / 1000} km` : `${metres} m`, x = width - long - 16, y = height - 36;
    context.fillStyle = paint("--card");
    context.globalAlpha = 0.8;
    context.fillRect(x - 8, y - 20, long + 16, 28);
    context.globalAlpha = 1;
    context.strokeStyle = context.fillStyle = paint("--ink");
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(x, y - 4); context.lineTo(x, y); context.lineTo(x + long, y); context.lineTo(x + long, y - 4);
    context.stroke();
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillText(label, x + long / 2, y - 6);
    context.textAlign = "left";
  }

  function redraw() {
    if (!pending) { pending = true; requestAnimationFrame(draw); }
  }

  function resize() {
    const box = canvas.getBoundingClientRect(), was = home && view.k === home.k && view.x === home.x;
    ratio = window.devicePixelRatio || 1;
    width = box.width; height = box.height;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    const k = 0.88 * Math.min(width / (bounds[2] - bounds[0]), height / (bounds[3] - bounds[1]));
    home = { x: (bounds[0] + bounds[2]) / 2, y: (bounds[1] + bounds[3]) / 2, k };
    if (!view || was) view = { ...home };
    redraw();
  }

  function zoom(factor, px = width / 2, py = height / 2) {
    const k = Math.min(2, Math.max(home.k / 300, view.k * factor)), x = view.x + (px - width / 2) / view.k;
    const y = view.y - (py - height / 2) / view.k;
    view = { k, x: x - (px - width / 2) / k, y: y + (py - height / 2) / k };
    redraw();
  }

  function pan(dx, dy) {
    view = { ...view, x: view.x - dx / view.k, y: view.y + dy / view.k };
    redraw();
  }

  function text(column, k) {
    if (column.kind === "text") return column.texts[k];
    if (column.kind === "word") return column.words[column.values[k]];
    const value = number(column, k);
    return value === null ? "unknown" : `${value.toFixed(column.digits)}${column.unit && column.unit !== "°" ? " " : ""}${column.unit}`;
  }

  function facts(k) {
    const rows = [], shares = [];
    for (const column of columns) {
      const share = column.name.includes(": ");
      if (share && column !== active) shares.push([number(column, k) || 0, column]);
      else rows.push([column.name, text(column, k), column === active]);
    }
    shares.sort((a, b) => b[0] - a[0]);
    for (const [value, column] of shares.slice(0, 5)) if (value > 0) rows.push([column.name, text(column, k), false]);
    return rows;
  }

  function show(k, px, py) {
    if (k !== hovered) {
      hovered = k;
      redraw();
      if (k >= 0) {
        const rows = facts(k);
        tip.replaceChildren(...rows.map(([name, value, strong]) => {
          const row = document.createElement("div"), left = document.createElement("span"), right = document.createElement("b");
          left.textContent = name;
          right.textContent = value;
          if (strong) row.className = "strong";
          row.append(left, right);
          return row;
        }));
        said.textContent = rows.slice(0, 8).map(([name, value]) => `${name} ${value}`).join(", ");
      }
    }
    tip.hidden = k < 0;
    if (k < 0) return;
    const room = tip.getBoundingClientRect();
    tip.style.left = `${px + 18 + room.width > width ? Math.max(4, px - room.width - 14) : px + 18}px`;
    tip.style.top = `${Math.max(4, Math.min(py + 14, height - room.height - 4))}px`;
  }

  function listen() {
    const pointers = new Map();
    let spread = 0;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
      spread = 0;
      canvas.classList.add("dragged");
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size) canvas.classList.remove("dragged");
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (before) {
        const share = 1 / pointers.size;
        pan((event.clientX - before.clientX) * share, (event.clientY - before.clientY) * share);
        pointers.set(event.pointerId, event);
        if (pointers.size === 2) {
          const [a, b] = [...pointers.values()], far = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
          const box = canvas.getBoundingClientRect();
          if (spread) zoom(far / spread, (a.clientX + b.clientX) / 2 - box.left, (a.clientY + b.clientY) / 2 - box.top);
          spread = far;
        }
        show(-1);
        return;
      }
      const k = at(view.x + (event.offsetX - width / 2) / view.k, view.y - (event.offsetY - height / 2) / view.k);
      show(k, event.offsetX, event.offsetY);
    });
    canvas.addEventListener("pointerleave", () => show(-1));
    canvas.addEventListener("dblclick", (event) => zoom(2, event.offsetX, event.offsetY));
    // The wheel scrolls the page until the map is clicked.
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
      if (steps) pan(...steps);
      else if (event.key === "+" || event.key === "=") zoom(1.5);
      else if (event.key === "-") zoom(1 / 1.5);
      else if (event.key === "0") { view = { ...home }; redraw(); }
      else return;
      event.preventDefault();
    });
    document.getElementById("map-in").addEventListener("click", () => zoom(1.6));
    document.getElementById("map-out").addEventListener("click", () => zoom(1 / 1.6));
    document.getElementById("map-home").addEventListener("click", () => { view = { ...home }; redraw(); });
    choose.addEventListener("change", () => { choice(choose.value); redraw(); });
    for (const key of document.querySelectorAll("[data-word]")) key.addEventListener("click", () => {
      const place = active.words.indexOf(key.dataset.word), shown = hidden.delete(place);
      if (!shown) hidden.add(place);
      key.setAttribute("aria-pressed", String(shown));
      redraw();
    });
    new ResizeObserver(resize).observe(canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    window.addEventListener("beforeprint", () => { document.documentElement.classList.add("print"); draw(); });
    window.addEventListener("afterprint", () => { document.documentElement.classList.remove("print"); redraw(); });
  }

  // After the first paint: the text is there before the map is unpacked.
  requestAnimationFrame(() => setTimeout(() => load().catch((error) => {
    const frame = document.getElementById("map-frame");
    frame.dataset.ready = "no";
    frame.querySelector(".wait").textContent = `The map cannot be drawn in this browser: ${error.message}`;
    throw error;
  })));
})();
