// Three explorers of the lessons: the window that slides, the field that grows, the optimizers that race.
// Each draws with SVG, listens to sliders, keys, mouse and fingers, and says its numbers in words.
"use strict";

// The mathematics, as in the lessons ---------------------------------------------------------------------------------

function outputSize(size, kernel, stride, padding, dilation) { // 0 where the window does not fit
  const reach = dilation * (kernel - 1) + 1;
  return reach > size + 2 * padding ? 0 : Math.floor((size + 2 * padding - reach) / stride) + 1;
}

function taps(at, kernel, stride, padding, dilation) { // the pixels along one axis that output `at` looks at
  return Array.from({length: kernel}, (_, i) => at * stride - padding + i * dilation);
}

function productCount(size, kernel, stride, padding, dilation) { // {all, frame}: products, and those with padding's zeros
  const out = outputSize(size, kernel, stride, padding, dilation);
  let inside = 0;
  for (let at = 0; at < out; at++) inside += taps(at, kernel, stride, padding, dilation).filter((t) => t >= 0 && t < size).length;
  return {all: (out * kernel) ** 2, frame: (out * kernel) ** 2 - inside ** 2};
}

function fields(layers) { // after each layer: how many pixels a unit sees along an axis, and how far its neighbour is
  let field = 1, jump = 1;
  return layers.map(({kernel, stride, dilation = 1}) => {
    field += dilation * (kernel - 1) * jump;
    jump *= stride;
    return {field, jump};
  });
}

function cone(layers, at) { // the first and last unit, in each layer from the last back to the input, that `at` depends on
  let first = at, last = at;
  const out = [[first, last]];
  for (const {kernel, stride, padding, dilation = 1} of [...layers].reverse()) {
    first = first * stride - padding;
    last = last * stride - padding + dilation * (kernel - 1);
    out.unshift([first, last]);
  }
  return out;
}

const KINDS = { // one step: w, gradient g, state s (an object per weight), settings
  SGD: (w, g, s, {lr}) => w - lr * g,
  momentum: (w, g, s, {lr, momentum}) => { s.v = momentum * (s.v || 0) + g; return w - lr * s.v; },
  Nesterov: (w, g, s, {lr, momentum}) => { s.v = momentum * (s.v || 0) + g; return w - lr * (g + momentum * s.v); },
  Adam: (w, g, s, {lr, beta1 = 0.9, beta2 = 0.999, eps = 1e-8}) => {
    s.t = (s.t || 0) + 1;
    s.m = beta1 * (s.m || 0) + (1 - beta1) * g;
    s.n = beta2 * (s.n || 0) + (1 - beta2) * g * g;
    return w - lr * (s.m / (1 - beta1 ** s.t)) / (Math.sqrt(s.n / (1 - beta2 ** s.t)) + eps);
  },
};

function race(kind, settings, steep, steps, start = [-3, 1]) { // the way down the bowl (w0² + steep w1²) / 2
  const slopes = [1, steep], state = [{}, {}], path = [start];
  for (let step = 0; step < steps; step++) path.push(path[step].map((w, i) => KINDS[kind](w, slopes[i] * w, state[i], settings)));
  return path;
}

const height = (w, steep) => (w[0] ** 2 + steep * w[1] ** 2) / 2;

// The pages ------------------------------------------------------------------------------------------------------------

(function () {
  if (typeof document === "undefined") return;
  const find = (id) => document.getElementById(id), SVG = "http://www.w3.org/2000/svg";
  const told = JSON.parse(find("data").textContent);
  const draw = (name, more = {}, ...inside) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(more)) node.setAttribute(key, value);
    node.append(...inside);
    return node;
  };
  const words = (name, ...inside) => { const node = document.createElement(name); node.append(...inside); return node; };
  const box = (x, y, side, kind) => draw("rect", {x, y, width: side, height: side, class: kind});

  function slider(name, low, high, value, changed, step = 1) {
    const input = Object.assign(document.createElement("input"), {type: "range", min: low, max: high, step, value}), now = words("b", String(value));
    input.setAttribute("aria-label", name);
    input.addEventListener("input", () => { now.textContent = input.value; changed(); });
    find("settings").append(words("label", words("span", `${name} `, now), input));
    return {get value() { return Number(input.value); }, set value(v) { input.value = v; now.textContent = input.value; }};
  }
  function table(head, rows) {
    const whole = words("table", words("tr", ...head.map((cell) => words("th", cell))));
    for (const row of rows) whole.append(words("tr", ...row.map((cell) => words("td", cell instanceof Element ? cell : String(cell)))));
    return whole;
  }
  function picture(move, choose) { // the one drawing of a page: arrow keys move, what has data-at is chosen by pointing
    const svg = draw("svg", {role: "img"});
    find("drawing").append(svg);
    if (!move) return svg;
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("keydown", (e) => {
      const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[e.key];
      if (step) { e.preventDefault(); move(...step); }
    });
    for (const what of ["pointermove", "pointerdown"])
      svg.addEventListener(what, (e) => { if (e.target.dataset.at) choose(...e.target.dataset.at.split(" ").map(Number)); });
    return svg;
  }
  function redraw(svg, wide, tall, label, ...inside) {
    svg.setAttribute("viewBox", `0 0 ${wide} ${tall}`);
    svg.setAttribute("width", wide);
    svg.setAttribute("aria-label", label);
    svg.replaceChildren(...inside);
  }

  const PAGES = {
    window() {
      const size = slider("image", 3, 12, 7, paint), kernel = slider("kernel", 1, 5, 3, paint), stride = slider("stride", 1, 4, 1, paint);
      const padding = slider("padding", 0, 3, 0, paint), dilation = slider("dilation", 1, 3, 1, paint), at = [0, 0], S = 24;
      const svg = picture((dr, dc) => { at[0] += dr; at[1] += dc; paint(); }, (r, c) => { if (r !== at[0] || c !== at[1]) { [at[0], at[1]] = [r, c]; paint(); } });
      function paint() {
        const set = [kernel.value, stride.value, padding.value, dilation.value], [k, s, p, d] = set, n = size.value, out = outputSize(n, ...set);
        at.forEach((v, i) => { at[i] = Math.max(0, Math.min(out - 1, v)); });
        const side = (n + 2 * p) * S, wide = side + 40 + out * S, below = Math.max(side, out * S) + 20, shown = [];
        const rows = out ? taps(at[0], ...set) : [], columns = out ? taps(at[1], ...set) : [];
        for (let r = -p; r < n + p; r++)
          for (let c = -p; c < n + p; c++) {
            const inside = r >= 0 && c >= 0 && r < n && c < n, tap = rows.includes(r) && columns.includes(c);
            shown.push(box(2 + (c + p) * S, 2 + (r + p) * S, S - 2, tap ? (inside ? "tap" : "pad") : inside ? "pixel" : "frame"));
          }
        for (let r = 0; r < out; r++)
          for (let c = 0; c < out; c++) {
            const cell = box(side + 40 + c * S, 2 + r * S, S - 2, r === at[0] && c === at[1] ? "out" : "pixel");
            cell.dataset.at = `${r} ${c}`;
            shown.push(cell);
          }
        shown.push(draw("text", {x: 2, y: below}, p ? "image and its frame of zeros" : "image"), draw("text", {x: side + 40, y: below}, "output"));
        const label = out ? `the window at output row ${at[0] + 1}, column ${at[1] + 1}; arrow keys move it` : "the window does not fit";
        redraw(svg, Math.max(wide + 4, side + 90), below + 6, label, ...shown);
        const {all, frame} = productCount(n, ...set), reach = d * (k - 1) + 1, left = n + 2 * p - reach;
        const formula = `⌊(${n} + 2·${p} − ${d}·(${k} − 1) − 1) / ${s}⌋ + 1`;
        find("numbers").replaceChildren(...(out
          ? [words("p", `Output size: ${formula} = ⌊${left} / ${s}⌋ + 1 = ${out}.`),
            words("p", `Products: ${out}·${out} outputs × ${k}·${k} = ${all.toLocaleString("en")}` + (frame ? `, ${frame.toLocaleString("en")} of them with zeros of the frame.` : ".")),
            words("p", left % s ? `${left % s} of the ${n + 2 * p} rows and columns at the end fill no whole window and are not used.` : "Every row and column is used.")]
          : [words("p", `The window reaches over ${reach} pixels, and the padded image has ${n + 2 * p}: it does not fit.`)]));
      }
      paint();
    },

    field() {
      const LAYERS = {"conv 3×3": {kernel: 3, stride: 1, padding: 1}, "conv 5×5": {kernel: 5, stride: 1, padding: 2}, "conv 3×3, stride 2": {kernel: 3, stride: 2, padding: 1}, "conv 3×3, dilation 2": {kernel: 3, stride: 1, padding: 2, dilation: 2}, "pool 2": {kernel: 2, stride: 2, padding: 0}};
      const size = 32, chosen = (told.layers || ["conv 3×3", "pool 2", "conv 3×3", "pool 2"]).slice();
      const add = document.createElement("select");
      add.append(...Object.keys(LAYERS).map((name) => Object.assign(words("option", name), {value: name})));
      add.setAttribute("aria-label", "layer to add");
      const button = (text, press) => Object.assign(words("button", text), {type: "button", onclick: press});
      find("settings").append(words("label", "layer", add), button("Add", () => { if (chosen.length < 8) chosen.push(add.value); paint(); }), button("Remove the last", () => { if (chosen.length > 1) chosen.pop(); paint(); }));
      const unit = slider("unit", 0, size - 1, 4, paint);
      let count = 1;
      const go = (i) => { if (i !== unit.value) { unit.value = Math.max(0, Math.min(count - 1, i)); paint(); } };
      const svg = picture((dr, dc) => go(Math.min(unit.value, count - 1) + dc), go);
      function paint() {
        let layers = chosen.map((name) => LAYERS[name]), sizes = [size];
        layers.forEach((layer) => sizes.push(outputSize(sizes[sizes.length - 1], layer.kernel, layer.stride, layer.padding, layer.dilation || 1)));
        while (sizes[sizes.length - 1] < 1) { chosen.pop(); layers = layers.slice(0, -1); sizes.pop(); }
        const last = sizes[sizes.length - 1], at = Math.min(unit.value, last - 1), seen = cone(layers, at), S = 18, gap = 46, left = 150;
        const shown = [];
        count = last;
        const jumps = [1, ...fields(layers).map((f) => f.jump)], offset = [0];
        layers.forEach((layer, i) => offset.push(offset[i] + jumps[i] * (((layer.dilation || 1) * (layer.kernel - 1)) / 2 - layer.padding)));
        const centre = (row, i) => left + (offset[row] + i * jumps[row] + 0.5) * S, y = (row) => 4 + gap * (sizes.length - 1 - row);
        for (let row = 0; row < layers.length; row++) {
          const [a, b] = seen[row + 1], [c, d] = seen[row];
          shown.push(draw("polygon", {class: "cone", points: `${centre(row + 1, a) - S / 2},${y(row + 1) + S} ${centre(row + 1, b) + S / 2},${y(row + 1) + S} ${centre(row, d) + S / 2},${y(row)} ${centre(row, c) - S / 2},${y(row)}`}));
        }
        sizes.forEach((units, row) => {
          shown.push(draw("text", {x: 0, y: y(row) + 13}, row ? chosen[row - 1] : "image"));
          for (let i = 0; i < units; i++) {
            const inside = i >= seen[row][0] && i <= seen[row][1], cell = box(centre(row, i) - S / 2 + 1, y(row), S - 2, inside ? (row === layers.length ? "out" : "seen") : "pixel");
            if (row === layers.length) cell.dataset.at = String(i);
            shown.push(cell);
          }
        });
        redraw(svg, left + size * S + 4, gap * sizes.length, `unit ${at + 1} of ${last}; left and right arrow keys choose another`, ...shown);
        const [a, b] = seen[0], grown = fields(layers), whole = grown[grown.length - 1].field;
        const cut = Math.min(b, size - 1) - Math.max(a, 0) + 1;
        find("numbers").replaceChildren(words("p", `This unit sees ${whole}×${whole} pixels` + (cut < whole ? `, ${cut} of the ${whole} along an axis inside the image.` : ".")),
          table(["layer", "units along an axis", "sees", "a neighbour is off by"], layers.map((_, i) => [chosen[i], sizes[i + 1], `${grown[i].field}×${grown[i].field}`, `${grown[i].jump} px`])));
      }
      paint();
    },

    race() {
      const COLOURS = {SGD: "#d55e00", momentum: "#0072b2", Nesterov: "#009e73", Adam: "#cc79a7"}, DASHES = {SGD: "", momentum: "6 3", Nesterov: "2 3", Adam: "9 3 2 3"};
      const rates = {SGD: slider("SGD: rate", 0.005, 0.12, 0.09, paint, 0.005), momentum: slider("momentum: rate", 0.005, 0.12, 0.03, paint, 0.005), Nesterov: slider("Nesterov: rate", 0.005, 0.12, 0.03, paint, 0.005), Adam: slider("Adam: rate", 0.02, 1, 0.3, paint, 0.02)};
      const momentum = slider("momentum", 0, 0.99, 0.8, paint, 0.01), steep = slider("steepness", 1, 50, 20, paint), steps = slider("steps", 1, 120, 40, paint);
      const W = 640, H = 330, x = (w) => ((w + 3.3) / 5.3) * W, y = (w) => H / 2 - (w / 2.9) * H;
      const svg = picture();
      function paint() {
        const shown = [];
        for (let level = 0.05; level < 40; level *= 2.2) shown.push(draw("ellipse", {class: "level", cx: x(0), cy: y(0), rx: x(Math.sqrt(2 * level)) - x(0), ry: y(0) - y(Math.sqrt((2 * level) / steep.value))}));
        shown.push(draw("path", {d: `M${x(0) - 6},${y(0)}h12M${x(0)},${y(0) - 6}v12`, stroke: "currentColor"}));
        const rows = Object.keys(KINDS).map((kind) => {
          const path = race(kind, {lr: rates[kind].value, momentum: momentum.value}, steep.value, steps.value), end = path[path.length - 1];
          const points = path.map((w) => w.map((v) => Math.max(-1e4, Math.min(1e4, v)))).map((w) => `${x(w[0]).toFixed(1)},${y(w[1]).toFixed(1)}`);
          shown.push(draw("polyline", {points: points.join(" "), fill: "none", stroke: COLOURS[kind], "stroke-width": 2, "stroke-dasharray": DASHES[kind]}));
          const [px, py] = points[points.length - 1].split(",").map(Number);
          shown.push(draw("circle", {cx: px, cy: py, r: 5, fill: COLOURS[kind]}));
          const swatch = draw("svg", {width: 44, height: 10, "aria-hidden": "true"}, draw("path", {d: "M0,5h44", stroke: COLOURS[kind], "stroke-width": 2.5, "stroke-dasharray": DASHES[kind]}));
          return [kind, height(end, steep.value), swatch];
        });
        redraw(svg, W, H, "the ways of four optimizers down a bowl; the table has their losses", ...shown);
        const best = rows.reduce((a, b) => (b[1] < a[1] ? b : a));
        find("numbers").replaceChildren(words("p", `After ${steps.value} steps ${best[0]} is lowest.`),
          table(["optimizer", "line", "loss"], rows.map(([kind, loss, swatch]) => [kind, swatch, Number.isFinite(loss) && loss < 1e6 ? loss.toPrecision(3) : "gone for good"])));
      }
      paint();
    },
  };
  PAGES[told.name]();
})();

if (typeof module !== "undefined") module.exports = {outputSize, taps, productCount, fields, cone, race, height};
