// The page around the network: draw or drop a picture, look inside.
(function () {
  "use strict";
  if (typeof document === "undefined") return;
  const find = (id) => document.getElementById(id);
  const trouble = (text) => { find("trouble").textContent = text; find("trouble").hidden = !text; };
  const make = (name, more = {}, ...inside) => {
    const node = Object.assign(document.createElement(name), more);
    node.append(...inside);
    return node;
  };
  const signed = (v, digits = 3) => (v < 0 ? "−" : "") + Math.abs(v).toFixed(digits);

  let told, layers;
  try {
    told = JSON.parse(find("data").textContent);
    layers = revived(told.layers);
    for (const layer of layers) if (!LAYERS[layer.kind]) throw new Error(`a layer ${layer.kind}, which this page does not know`);
  } catch (error) {
    return trouble(`The network in this file cannot be read: ${error.message}. Make the file again: tito milestone run 04`);
  }
  const digits = told.data === "digits", start = layers;
  const shape = digits ? [1, 8, 8] : [3, 32, 32], empty = {shape, data: new Float32Array(shape[0] * shape[1] * shape[2])};
  if (!digits) find("bars").className = "words";
  const state = {x: empty, shown: false, out: null, chosen: null, epoch: null};
  find("app").hidden = false;
  find("h-input").textContent = digits ? "Draw a digit" : "Give it a photograph";

  // Pixels as squares: blue above zero, orange below, for a scale; ink is dark on white.
  function tone(value, scale) {
    const part = Math.min(1, Math.abs(value) / (scale || 1)), [r, g, b] = value >= 0 ? [0, 114, 178] : [213, 94, 0];
    return `rgb(${[r, g, b].map((c) => Math.round(255 + (c - 255) * part)).join(",")})`;
  }
  function squares(canvas, x, channel, cell, colour) {
    const [, height, width] = x.shape, pen = canvas.getContext("2d");
    canvas.width = width * cell; canvas.height = height * cell;
    for (let r = 0; r < height; r++)
      for (let c = 0; c < width; c++) {
        pen.fillStyle = colour(x.data[(channel * height + r) * width + c], r, c);
        pen.fillRect(c * cell, r * cell, cell, cell);
      }
    return pen;
  }
  function outline(canvas, places, cell, shape) {
    const pen = canvas.getContext("2d");
    pen.strokeStyle = "#000"; pen.lineWidth = 2;
    for (const [r, c] of places)
      if (r >= 0 && c >= 0 && r < shape[1] && c < shape[2]) pen.strokeRect(c * cell + 1, r * cell + 1, cell - 2, cell - 2);
  }
  const grey = (v) => { const s = Math.round(255 * (1 - Math.min(1, Math.max(0, v)))); return `rgb(${s},${s},${s})`; };
  const largest = (data) => data.reduce((m, v) => Math.max(m, Math.abs(v)), 0);

  // Inside: the filters, and the maps of every layer up to the first that makes a vector (of photographs: the first's).
  const inside = [];
  const first = layers.findIndex((layer) => layer.kind === "Conv2d");
  const last = digits ? layers.findIndex((layer) => layer.kind === "Flatten") : first + 1;
  const cellOf = (size) => Math.max(2, Math.floor(84 / size));
  function build() {
    const filters = make("div", {className: "maps"}), count = layers[first].weight.shape[0];
    for (let o = 0; o < count; o++) filters.append(make("canvas"));
    filters.querySelectorAll("canvas").forEach((c, o) => { c.setAttribute("role", "img"); c.setAttribute("aria-label", `filter ${o + 1}`); });
    find("layers").append(make("div", {className: "layer"}, make("h3", {textContent: `${count} filters of ${layers[first].kernel.join("×")}`}), filters));
    inside.push({filters});
    const out = forward(layers, empty);
    for (let at = first; at < last; at++) {
      const maps = make("div", {className: "maps"}), [channels, rows, columns] = out[at + 1].shape, cell = cellOf(columns);
      const says = {Conv2d: "after the convolution", ReLU: "after ReLU: what was below zero is zero", MaxPool2d: "after max pooling: the largest of each window"};
      for (let c = 0; c < channels; c++) {
        const canvas = make("canvas", {tabIndex: 0});
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `map ${c + 1} ${says[layers[at].kind] || layers[at].kind}; arrow keys choose a pixel`);
        const choose = (r, k) => { state.chosen = {at, channel: c, row: r, column: k}; paint(); };
        canvas.addEventListener("pointermove", (e) => pointed(e)); canvas.addEventListener("pointerdown", (e) => pointed(e));
        const pointed = (e) => {
          const box = canvas.getBoundingClientRect();
          const r = Math.floor((e.clientY - box.top) / box.height * rows), k = Math.floor((e.clientX - box.left) / box.width * columns);
          if (r >= 0 && k >= 0 && r < rows && k < columns) choose(r, k);
        };
        canvas.addEventListener("keydown", (e) => {
          const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[e.key];
          if (!step) return;
          e.preventDefault();
          const now = state.chosen && state.chosen.at === at && state.chosen.channel === c ? state.chosen : {row: 0, column: 0};
          choose(Math.min(rows - 1, Math.max(0, now.row + step[0])), Math.min(columns - 1, Math.max(0, now.column + step[1])));
        });
        maps.append(canvas);
      }
      find("layers").append(make("div", {className: "layer"}, make("h3", {textContent: `${channels} maps of ${rows}×${columns} ${says[layers[at].kind] || "after " + layers[at].kind}`}), maps));
      inside.push({at, maps, cell});
    }
    told.names.forEach((name) => {
      const bar = make("div", {className: "bar"}, make("i"));
      find("bars").append(make("li", {}, make("span", {textContent: name}), bar, make("span", {className: "number"}), make("span", {className: "number numbers"})));
    });
  }

  function windowShown() { // the window of the chosen pixel, in the layer before and in the picture
    const {at, channel, row, column} = state.chosen, layer = layers[at], before = state.out[at];
    if (!layer.kernel) return {at, places: [[row, column]], channels: [channel], before};
    const group = layer.kind === "Conv2d" ? Math.floor(channel / (layer.weight.shape[0] / layer.groups)) : 0;
    const depth = layer.kind === "Conv2d" ? layer.weight.shape[1] : 1;
    const channels = layer.kind === "Conv2d" ? [...Array(depth).keys()].map((d) => group * depth + d) : [channel];
    return {at, places: windowOf(layer, row, column), channels, before};
  }

  function sum() { // the products of the chosen pixel, down to the numbers
    const box = find("sum"), {at, channel, row, column} = state.chosen, layer = layers[at];
    const seen = windowShown(), [, height, width] = seen.before.shape, value = state.out[at + 1];
    const pixel = (c, [y, z]) => y < 0 || z < 0 || y >= height || z >= width ? 0 : seen.before.data[(c * height + y) * width + z];
    const found = value.data[(channel * value.shape[1] + row) * value.shape[2] + column];
    const where = `Map ${channel + 1}, row ${row + 1}, column ${column + 1}`;
    box.replaceChildren();
    if (layer.kind === "Conv2d") {
      const columns = layer.kernel[1];
      for (const [d, c] of seen.channels.entries()) {
        const table = make("table");
        for (let i = 0; i < layer.kernel[0]; i++) {
          const line = make("tr");
          for (let j = 0; j < columns; j++) {
            const w = layer.weight.data[((channel * layer.weight.shape[1] + d) * layer.kernel[0] + i) * columns + j];
            line.append(make("td", {textContent: `${signed(pixel(c, seen.places[i * columns + j]))} × ${signed(w)}`}));
          }
          table.append(line);
        }
        box.append(...(seen.channels.length > 1 ? [make("p", {className: "small", textContent: `channel ${c + 1}`})] : []), table);
      }
      const bias = layer.bias ? layer.bias.data[channel] : 0;
      box.prepend(make("p", {textContent: `${where}: the sum of these products, plus the bias ${signed(bias)}, is ${signed(found)}.`}));
    } else if (layer.kind === "ReLU") {
      box.append(make("p", {textContent: `${where}: ${signed(pixel(channel, [row, column]))} before, ${signed(found)} after.`}));
    } else {
      const values = seen.places.map((place) => signed(pixel(channel, place)));
      box.append(make("p", {textContent: `${where}: the largest of ${values.join(", ")} is ${signed(found)}.`}));
    }
  }

  function paint() {
    const out = state.out, seen = find("seen").querySelector("canvas"), cell = digits ? 20 : 5;
    if (digits) squares(seen, state.x, 0, cell, grey);
    else photo(seen, state.x, cell);
    const chosen = state.chosen && windowShown();
    inside.forEach((part) => {
      if (part.filters) {
        const weight = layers[first].weight, [, depth, kh, kw] = weight.shape, scale = largest(weight.data);
        part.filters.querySelectorAll("canvas").forEach((canvas, o) => {
          const one = {shape: [1, kh, kw], data: new Float32Array(kh * kw)};
          for (let d = 0; d < depth; d++) for (let i = 0; i < kh * kw; i++) one.data[i] += weight.data[(o * depth + d) * kh * kw + i] / depth;
          squares(canvas, one, 0, 20, (v) => tone(v, depth > 1 ? largest(one.data) : scale));
          if (state.chosen && state.chosen.at === first && state.chosen.channel === o) { canvas.getContext("2d").lineWidth = 4; canvas.getContext("2d").strokeRect(0, 0, canvas.width, canvas.height); }
        });
        return;
      }
      const x = out[part.at + 1], scale = largest(x.data);
      part.maps.querySelectorAll("canvas").forEach((canvas, c) => {
        squares(canvas, x, c, part.cell, (v) => tone(v, scale));
        if (state.chosen && state.chosen.at === part.at && state.chosen.channel === c) outline(canvas, [[state.chosen.row, state.chosen.column]], part.cell, x.shape);
        if (chosen && chosen.at === part.at + 1 && chosen.channels.includes(c)) outline(canvas, chosen.places, part.cell, x.shape);
      });
    });
    if (chosen && chosen.at === first) outline(seen, chosen.places, cell, state.x.shape);
    if (chosen) sum();
  }

  function answer() {
    const logits = state.out[state.out.length - 1].data, p = shares(logits);
    const order = [...p.keys()].sort((a, b) => p[b] - p[a]), rows = find("bars").children;
    for (let i = 0; i < rows.length; i++) {
      const at = digits ? i : order[i], [name, bar, percent, number] = rows[i].children;
      name.textContent = told.names[at];
      bar.firstChild.style.transform = `scaleX(${state.shown ? p[at] : 0})`;
      percent.textContent = state.shown ? `${(100 * p[at]).toFixed(1)} %` : "";
      number.textContent = state.shown ? signed(logits[at], 2) : "";
      rows[i].className = state.shown && at === order[0] ? "first" : "";
      rows[i].hidden = !digits && i > 2;
    }
    const text = state.shown ? `${told.names[order[0]]}, ${(100 * p[order[0]]).toFixed(0)} % sure` : digits ? "Nothing is drawn yet." : "No picture yet.";
    if (find("said").textContent !== text) find("said").textContent = text;
  }

  let waiting = false;
  function show(x, why = "") { // x: what the network sees; null with a sentence why there is nothing
    state.shown = x !== null;
    state.x = x || empty;
    trouble(why);
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; state.out = forward(layers, state.x); paint(); answer(); });
  }

  function photo(canvas, x, cell) {
    const [, height, width] = x.shape, pen = canvas.getContext("2d"), {mean, std} = told.scale;
    canvas.width = width * cell; canvas.height = height * cell;
    for (let r = 0; r < height; r++)
      for (let c = 0; c < width; c++) {
        const rgb = [0, 1, 2].map((k) => state.shown ? Math.round(255 * (x.data[(k * height + r) * width + c] * std[k] + mean[k])) : 255);
        pen.fillStyle = `rgb(${rgb.join(",")})`;
        pen.fillRect(c * cell, r * cell, cell, cell);
      }
  }

  // Drawing a digit: mouse, finger, pen or keys.
  const SIDE = 280, INK = 22;
  function drawing() {
    const pad = make("canvas", {id: "pad", width: SIDE, height: SIDE, tabIndex: 0});
    pad.setAttribute("role", "application");
    pad.setAttribute("aria-label", "Draw a digit here. With keys: arrows move the pen, space puts it down and lifts it, Delete clears.");
    const pen = pad.getContext("2d", {willReadFrequently: true}), before = [];
    const keys = {x: SIDE / 2, y: SIDE / 2, down: false};
    let from = null, example = false; // an example gives way to the first stroke
    const clear = () => { pen.fillStyle = "#fff"; pen.fillRect(0, 0, SIDE, SIDE); };
    const look = () => {
      const x = digit(greyOf(pen.getImageData(0, 0, SIDE, SIDE).data), SIDE, SIDE);
      show(x);
    };
    const remember = () => {
      before.push(pen.getImageData(0, 0, SIDE, SIDE));
      if (before.length > 50) before.shift();
      if (example) { example = false; clear(); }
    };
    const line = (a, b) => {
      pen.strokeStyle = "#000"; pen.lineWidth = INK; pen.lineCap = pen.lineJoin = "round";
      pen.beginPath(); pen.moveTo(...a); pen.lineTo(b[0] + 0.01, b[1]); pen.stroke();
    };
    const place = (e) => { const box = pad.getBoundingClientRect(); return [(e.clientX - box.left) / box.width * SIDE, (e.clientY - box.top) / box.height * SIDE]; };
    const undo = () => { const last = before.pop(); if (last) pen.putImageData(last, 0, 0); else clear(); look(); };
    const wipe = () => { remember(); clear(); look(); };
    pad.addEventListener("pointerdown", (e) => { if (e.button) return; e.preventDefault(); pad.focus(); pad.setPointerCapture(e.pointerId); remember(); from = place(e); line(from, from); look(); });
    pad.addEventListener("pointermove", (e) => { if (!from) return; const to = place(e); line(from, to); from = to; look(); });
    for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => { from = null; });
    pad.addEventListener("keydown", (e) => {
      const step = {ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0]}[e.key];
      if (step) {
        const to = [0, 1].map((k) => Math.min(SIDE - 12, Math.max(12, [keys.x, keys.y][k] + 10 * step[k])));
        if (keys.down) { line([keys.x, keys.y], to); look(); }
        [keys.x, keys.y] = to;
        find("penat").textContent = `pen ${keys.down ? "down" : "up"} at ${Math.round(keys.x / 28)}, ${Math.round(keys.y / 28)} of 10`;
      } else if (e.key === " ") { keys.down = !keys.down; if (keys.down) { remember(); line([keys.x, keys.y], [keys.x, keys.y]); look(); } find("penat").textContent = `pen ${keys.down ? "down" : "up"}`; }
      else if (e.key === "Delete") wipe();
      else if (e.key.toLowerCase() === "z" && (e.ctrlKey || e.metaKey)) undo();
      else return;
      e.preventDefault();
    });
    const buttons = make("div", {className: "buttons"}, make("button", {type: "button", textContent: "Undo", onclick: undo}), make("button", {type: "button", textContent: "Clear", onclick: wipe}));
    find("input").append(pad, buttons, make("p", {id: "penat", className: "small"}));
    clear();
    if (told.samples.length) {
      const strip = make("div", {className: "buttons"});
      told.samples.forEach((sample) => {
        const x = {shape: [1, 8, 8], data: numbers(sample.image.base64)}, small = make("canvas");
        squares(small, x, 0, 5, grey);
        const button = make("button", {type: "button", title: "a test digit"}, small, sample.mistake ? `${sample.label}, missed` : `${sample.label}`);
        button.onclick = () => { remember(); const whole = make("canvas"); squares(whole, x, 0, SIDE / 8, grey); pen.drawImage(whole, 0, 0); show(x); };
        strip.append(button);
      });
      find("starts").append(make("p", {className: "small", textContent: "Or start from a test digit, which the network has not learned from (missed: it was surest of a wrong answer):"}), strip);
    }
    show(null);
    if (window !== window.top && told.samples.length) { find("starts").querySelector("button").click(); example = true; } // within another page: alive at first sight
    return pad;
  }

  // A photograph: chosen, dropped or pasted.
  function photographs() {
    const file = make("input", {type: "file", accept: "image/*", id: "file"});
    find("input").append(make("p", {}, make("label", {textContent: "A picture: ", htmlFor: "file"}), file), make("p", {className: "small", textContent: "Choose, drop or paste one. Its middle square is made 32×32 pixels small. It does not leave this page."}));
    const take = async (blob) => {
      if (!blob) return;
      let picture;
      try { picture = await createImageBitmap(blob, {imageOrientation: "from-image"}); }
      catch { return show(null, `${blob.name || "This"} is no picture that can be read: a PNG or JPEG would do.`); }
      const shrink = Math.min(1, 1600 / Math.max(picture.width, picture.height)), canvas = make("canvas", {width: Math.max(1, Math.round(picture.width * shrink)), height: Math.max(1, Math.round(picture.height * shrink))});
      const pen = canvas.getContext("2d");
      pen.imageSmoothingQuality = "high"; pen.fillStyle = "#fff"; pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
      show(fitted(pen.getImageData(0, 0, canvas.width, canvas.height).data, canvas.height, canvas.width, 32, told.scale));
    };
    file.onchange = () => take(file.files[0]);
    addEventListener("dragover", (e) => e.preventDefault());
    addEventListener("drop", (e) => { e.preventDefault(); take(e.dataTransfer.files[0]); });
    addEventListener("paste", (e) => take([...e.clipboardData.files][0]));
    show(null);
  }

  function epochs() {
    if (told.epochs.length < 2) return;
    const slider = find("epoch"), count = told.epochs.length - 1;
    const sets = told.epochs.map((arrays) => start.map((layer, at) => {
      const own = Object.entries(arrays).filter(([key]) => key.startsWith(`${at}.`)).map(([key, value]) => [key.slice(`${at}.`.length), {shape: value.shape, data: numbers(value.base64)}]);
      return {...layer, ...Object.fromEntries(own)};
    }));
    slider.max = slider.value = count;
    find("at").textContent = `${count} of ${count}`;
    slider.oninput = () => { layers = sets[slider.value]; find("at").textContent = `${slider.value} of ${count}`; show(state.shown ? state.x : null); };
    find("learning").hidden = false;
  }

  build();
  epochs();
  if (digits) drawing(); else photographs();
  globalThis.tinytorch = {logits: (data) => Array.from(forward(layers, {shape, data: Float32Array.from(data)}).pop().data), state, show, shape};
})();
