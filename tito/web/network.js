// A trained network, run in the browser: layers on arrays, the picture as the network sees it, and the page around them.
// Python writes this text into one file with the weights as data (tito/web/page.py). Nothing is fetched.
"use strict";

// The network ------------------------------------------------------------------------------------------------------
// An image is {shape: [C, H, W], data: Float32Array}; a vector is {shape: [N], data}.

function numbers(text) { // base64 of float32, little-endian
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  const view = new DataView(bytes.buffer), out = new Float32Array(bytes.length >> 2);
  for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true);
  return out;
}

function windowOf(layer, row, column) { // [y, x] of the pixels that an output looks at, padding included
  const [kh, kw] = layer.kernel, [sh, sw] = layer.stride, [ph, pw] = layer.padding, [dh, dw] = layer.dilation || [1, 1];
  const places = [];
  for (let i = 0; i < kh; i++)
    for (let j = 0; j < kw; j++) places.push([row * sh - ph + i * dh, column * sw - pw + j * dw]);
  return places;
}

function sizes(layer, x) { // rows and columns of what comes out, rounded down
  const out = [];
  for (let axis = 0; axis < 2; axis++) {
    const size = x.shape[axis + 1], padded = size + 2 * layer.padding[axis];
    const reach = (layer.dilation ? layer.dilation[axis] : 1) * (layer.kernel[axis] - 1) + 1;
    out.push(Math.floor((padded - reach) / layer.stride[axis]) + 1);
  }
  return out;
}

function convolve(layer, x) {
  const [channels, height, width] = x.shape, [outs, depth, kh, kw] = layer.weight.shape, weight = layer.weight.data;
  const [rows, columns] = sizes(layer, x), [sh, sw] = layer.stride, [ph, pw] = layer.padding, [dh, dw] = layer.dilation;
  const data = new Float32Array(outs * rows * columns), each = outs / layer.groups;
  for (let o = 0; o < outs; o++) {
    const first = Math.floor(o / each) * depth;
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        let sum = layer.bias ? layer.bias.data[o] : 0;
        for (let d = 0; d < depth; d++)
          for (let i = 0; i < kh; i++) {
            const y = r * sh - ph + i * dh;
            if (y < 0 || y >= height) continue;
            for (let j = 0; j < kw; j++) {
              const z = c * sw - pw + j * dw;
              if (z < 0 || z >= width) continue;
              sum += x.data[((first + d) * height + y) * width + z] * weight[((o * depth + d) * kh + i) * kw + j];
            }
          }
        data[(o * rows + r) * columns + c] = sum;
      }
  }
  return {shape: [outs, rows, columns], data};
}

function pool(layer, x) {
  const [channels, height, width] = x.shape, [rows, columns] = sizes(layer, x);
  const data = new Float32Array(channels * rows * columns);
  for (let c = 0; c < channels; c++)
    for (let r = 0; r < rows; r++)
      for (let k = 0; k < columns; k++) {
        let best = -Infinity;
        for (const [y, z] of windowOf(layer, r, k))
          if (y >= 0 && z >= 0 && y < height && z < width) best = Math.max(best, x.data[(c * height + y) * width + z]);
        data[(c * rows + r) * columns + k] = best;
      }
  return {shape: [channels, rows, columns], data};
}

function linear(layer, x) {
  const [outs, ins] = layer.weight.shape, data = new Float32Array(outs);
  for (let o = 0; o < outs; o++) {
    let sum = layer.bias ? layer.bias.data[o] : 0;
    for (let i = 0; i < ins; i++) sum += layer.weight.data[o * ins + i] * x.data[i];
    data[o] = sum;
  }
  return {shape: [outs], data};
}

function normalise(layer, x) { // as at test time: with the running statistics
  const [channels, height, width] = x.shape, area = height * width, data = new Float32Array(x.data.length);
  for (let c = 0; c < channels; c++) {
    const scale = (layer.weight ? layer.weight.data[c] : 1) / Math.sqrt(layer.running_var.data[c] + layer.eps);
    const shift = (layer.bias ? layer.bias.data[c] : 0) - layer.running_mean.data[c] * scale;
    for (let i = 0; i < area; i++) data[c * area + i] = x.data[c * area + i] * scale + shift;
  }
  return {shape: x.shape, data};
}

function means(layer, x) {
  const [channels, height, width] = x.shape, data = new Float32Array(channels), area = height * width;
  for (let c = 0; c < channels; c++) {
    let sum = 0;
    for (let i = 0; i < area; i++) sum += x.data[c * area + i];
    data[c] = sum / area;
  }
  return {shape: [channels], data};
}

const LAYERS = {
  Conv2d: convolve, MaxPool2d: pool, Linear: linear, BatchNorm2d: normalise, GlobalAvgPool2d: means,
  ReLU: (layer, x) => ({shape: x.shape, data: x.data.map((v) => Math.max(v, 0))}),
  Flatten: (layer, x) => ({shape: [x.data.length], data: x.data}),
};

function forward(layers, x) { // what comes out of each layer, the input first
  const out = [x];
  for (const layer of layers) out.push(LAYERS[layer.kind](layer, out[out.length - 1]));
  return out;
}

function shares(logits) {
  const top = Math.max(...logits), powers = Array.from(logits, (v) => Math.exp(v - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}

function revived(layers) { // arrays from text, in place of their text
  const array = (value) => value && typeof value === "object" && "base64" in value
    ? {shape: value.shape, data: numbers(value.base64)} : value;
  return layers.map((layer) => Object.fromEntries(Object.entries(layer).map(([key, value]) => [key, array(value)])));
}

// The picture as the network sees it: what `tito predict` does to it, step by step -----------------------------------

const BOX = {support: 0.5, at: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)};
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const LANCZOS = {support: 3, at: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0)};

function resized(grey, height, width, size, filter, box = [0, 0, width, height]) { // as Pillow, in its fixed point
  const weights = (from, first, last) => {
    const scale = (last - first) / size, stretch = Math.max(scale, 1), reach = filter.support * stretch, all = [];
    for (let k = 0; k < size; k++) {
      const centre = first + (k + 0.5) * scale, each = [];
      const low = Math.max(0, Math.trunc(centre - reach + 0.5)), high = Math.min(from, Math.trunc(centre + reach + 0.5));
      for (let i = low; i < high; i++) each.push(filter.at((i - centre + 0.5) / stretch));
      const sum = each.reduce((a, b) => a + b, 0);
      all.push([low, each.map((w) => Math.trunc((w / sum) * (1 << 22) + (w < 0 ? -0.5 : 0.5)))]);
    }
    return all;
  };
  const byte = (sum) => Math.max(0, Math.min(255, Math.floor(sum / (1 << 22))));
  const half = new Uint8Array(height * size), out = new Uint8Array(size * size);
  weights(width, box[0], box[2]).forEach(([low, each], k) => { // first along the rows, rounded to bytes, then down
    for (let y = 0; y < height; y++) {
      let sum = 1 << 21;
      for (let i = 0; i < each.length; i++) sum += each[i] * grey[y * width + low + i];
      half[y * size + k] = byte(sum);
    }
  });
  weights(height, box[1], box[3]).forEach(([low, each], k) => {
    for (let x = 0; x < size; x++) {
      let sum = 1 << 21;
      for (let i = 0; i < each.length; i++) sum += each[i] * half[(low + i) * size + x];
      out[k * size + x] = byte(sum);
    }
  });
  return out;
}

function fitted(rgba, height, width, size, scale) { // (3, size, size): the middle square, made small, normalised
  const side = Math.min(height, width), left = (width - side) / 2, top = (height - side) / 2;
  const data = new Float32Array(3 * size * size);
  for (let k = 0; k < 3; k++) {
    const one = new Uint8Array(height * width);
    for (let i = 0; i < one.length; i++) one[i] = rgba[4 * i + k];
    const small = resized(one, height, width, size, LANCZOS, [left, top, left + side, top + side]);
    small.forEach((v, i) => { data[k * size * size + i] = (v / 255 - scale.mean[k]) / scale.std[k]; });
  }
  return {shape: [3, size, size], data};
}

function digit(grey, height, width) { // (1, 8, 8), or null where nothing stands out from the ground
  const edge = [];
  for (let x = 0; x < width; x++) edge.push(grey[x], grey[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) edge.push(grey[y * width], grey[y * width + width - 1]);
  edge.sort((a, b) => a - b);
  const middle = edge.length >> 1, ground = edge.length % 2 ? edge[middle] : (edge[middle - 1] + edge[middle]) / 2;
  let most = 0;
  for (const value of grey) most = Math.max(most, Math.abs(value - ground));
  if (most < 32) return null;
  let top = height, left = width, bottom = -1, right = -1;
  const ink = (y, x) => Math.abs(grey[y * width + x] - ground) > 0.5 * most;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (ink(y, x)) {
        top = Math.min(top, y); bottom = Math.max(bottom, y); left = Math.min(left, x); right = Math.max(right, x);
      }
  const tall = bottom - top + 1, wide = right - left + 1, side = Math.max(tall, wide);
  const above = (side - tall) >> 1, before = (side - wide) >> 1, square = new Uint8Array(side * side);
  for (let y = 0; y < tall; y++)
    for (let x = 0; x < wide; x++) if (ink(top + y, left + x)) square[(above + y) * side + before + x] = 255;
  const small = resized(square, side, side, 32, BOX), data = new Float32Array(64);
  for (let y = 0; y < 32; y++) for (let x = 0; x < 32; x++) if (small[y * 32 + x] > 127) data[(y >> 2) * 8 + (x >> 2)] += 1 / 16;
  return {shape: [1, 8, 8], data};
}

function greyOf(rgba) { // Pillow's "L" of pixels on white
  const out = new Uint8Array(rgba.length >> 2);
  for (let i = 0; i < out.length; i++) {
    const a = rgba[4 * i + 3] / 255, [r, g, b] = [0, 1, 2].map((k) => Math.round(rgba[4 * i + k] * a + 255 * (1 - a)));
    out[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
  }
  return out;
}

if (typeof module !== "undefined") module.exports = {numbers, forward, shares, revived, digit, fitted, greyOf, windowOf};
