"use strict";
// Stands for the server of `lifline serve`: prepares a picture, as preparation.py and character.py do where it shows
// its character or object on an even ground, and asks the network in ONNX Runtime.
window.lifline = (() => {
  const { dataset, hidden, membranes_decide: membranesDecide, onnx } = window.liflineModel;
  const [channels, height, width] = dataset.shape;
  const LEAST_CONTRAST = 0.1, INK = 0.3, VIEW_SIDE = 350, MAX_LOOKS = 8, CHARACTER_SHARE = 20 / 28;
  const READ_SIDE = 4000, WORKING_SIDE = 1000, LEAST_LIGHT = 0.05, NOISE = 5;
  const FILTERS = {  // Pillow's: how far each reaches, and its weight at a distance
    box: [0.5, (x) => Number(x > -0.5 && x <= 0.5)],
    bicubic: [2, (x) => cubic(Math.abs(x))],
  };

  // Planes: numbers in rows

  const plane = (height, width, data = new Float32Array(height * width)) => ({ height, width, data });
  const mapped = (from, change) => plane(from.height, from.width, from.data.map(change));
  const longerSide = (of) => Math.max(of.height, of.width);
  const greatest = (numbers) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);
  const least = (numbers) => numbers.reduce((a, b) => Math.min(a, b), Infinity);
  const round = (x) => Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);  // Python's, half to even
  const clipped = (x, low, high) => Math.min(high, Math.max(low, x));
  const cubic = (x) => x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;

  function percentile(numbers, share) {
    const sorted = Float32Array.from(numbers).sort(), place = share * (sorted.length - 1), low = Math.floor(place);
    return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  }

  function border({ height, width, data }) {
    const columns = [...Array(height).keys()].flatMap((y) => [data[y * width], data[(y + 1) * width - 1]]);
    return [...data.subarray(0, width), ...data.subarray((height - 1) * width), ...columns];
  }

  function cut(from, box) {
    const to = plane(box.bottom - box.top, box.right - box.left);
    for (let y = 0; y < to.height; y++) {
      const start = (box.top + y) * from.width + box.left;
      to.data.set(from.data.subarray(start, start + to.width), y * to.width);
    }
    return to;
  }

  function boxOf({ height, width, data }, isIn) {
    const box = { top: height, bottom: 0, left: width, right: 0 };
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (isIn(data[y * width + x])) {
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y + 1);
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x + 1);
    }
    return box;
  }

  function reduced(from, factor) {
    if (factor === 1) return from;
    const to = plane(Math.ceil(from.height / factor), Math.ceil(from.width / factor));
    for (let y = 0; y < to.height; y++) for (let x = 0; x < to.width; x++) {
      const bottom = Math.min(from.height, (y + 1) * factor), right = Math.min(from.width, (x + 1) * factor);
      let sum = 0;
      for (let row = y * factor; row < bottom; row++) for (let at = x * factor; at < right; at++) sum += from.data[row * from.width + at];
      to.data[y * to.width + x] = sum / ((bottom - y * factor) * (right - x * factor));
    }
    return to;
  }

  function resized(from, height, width, filter, finish = (x) => x) {
    return transposed(alongRows(transposed(alongRows(from, width, filter, finish)), height, filter, finish));
  }

  function transposed({ height, width, data }) {
    return plane(width, height, data.map((_, i) => data[(i % height) * width + Math.floor(i / height)]));
  }

  function alongRows(from, width, [reach, weightAt], finish) {
    if (width === from.width) return from;
    const scale = from.width / width, stretch = Math.max(1, scale), to = plane(from.height, width);
    for (let x = 0; x < width; x++) {
      const centre = (x + 0.5) * scale;
      const start = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
      const end = Math.min(from.width, Math.trunc(centre + reach * stretch + 0.5));
      const weights = [];
      for (let i = start; i < end; i++) weights.push(weightAt((i - centre + 0.5) / stretch));
      const whole = weights.reduce((a, b) => a + b, 0);
      for (let y = 0; y < from.height; y++) {
        const sum = weights.reduce((total, weight, i) => total + weight * from.data[y * from.width + start + i], 0);
        to.data[y * width + x] = finish(sum / whole);
      }
    }
    return to;
  }

  function scaled(from, scale) {
    const sides = [from.height, from.width].map((side) => Math.max(1, round(side * scale)));
    return resized(from, ...sides, FILTERS[scale < 1 ? "box" : "bicubic"]);
  }

  function placed(small, top, left) {
    const image = plane(height, width);
    for (let y = 0; y < small.height; y++) {
      image.data.set(small.data.subarray(y * small.width, (y + 1) * small.width), (top + y) * width + left);
    }
    return image;
  }

  // Preparations: from planes of red, green and blue, 0 to 255, to those of the image, 0 to 1; undefined where nothing is

  function grey([red, green, blue]) {  // Pillow's
    return plane(red.height, red.width, red.data.map((value, i) => Math.floor((value * 19595 + green.data[i] * 38470 + blue.data[i] * 7471 + 32768) / 65536)));
  }

  function asHandwriting(colours) {
    const picture = grey(colours), ground = percentile(border(picture), 0.5);
    const sign = greatest(picture.data) - ground > ground - least(picture.data) ? 1 : -1;
    const ink = mapped(picture, (value) => Math.max(0, sign * (value - ground) / 255));
    if (greatest(ink.data) < LEAST_CONTRAST) return undefined;
    const seen = closest(ink), half = greatest(seen.data) / 2;
    const edge = INK * percentile(seen.data.filter((value) => value > half), 0.9);
    return likeMnist(cut(seen, boxOf(seen, (value) => value >= edge)));
  }

  function closest(ink) {
    let seen = ink;
    for (let look = 0; look < MAX_LOOKS; look++) {
      const factor = Math.ceil(longerSide(ink) / VIEW_SIDE);
      seen = reduced(ink, factor);
      const half = greatest(seen.data) / 2, box = boxOf(seen, (value) => value > half);
      const margin = round(0.5 * factor * Math.max(box.bottom - box.top, box.right - box.left));
      const closer = cut(ink, {
        top: Math.max(0, box.top * factor - margin), bottom: Math.min(ink.height, box.bottom * factor + margin),
        left: Math.max(0, box.left * factor - margin), right: Math.min(ink.width, box.right * factor + margin),
      });
      if (Math.ceil(longerSide(closer) / VIEW_SIDE) === factor) break;
      ink = closer;
    }
    return seen;
  }

  function likeMnist(character) {
    const side = round(CHARACTER_SHARE * Math.min(height, width));
    let small = scaled(character, side / longerSide(character));
    const most = greatest(small.data);
    small = mapped(small, (value) => clipped(value / most, 0, 1));
    const mass = small.data.reduce((a, b) => a + b, 0);
    const start = (whole, length, placeOf) => {
      const centre = small.data.reduce((sum, value, i) => sum + value * placeOf(i), 0) / mass;
      return clipped(round(whole / 2 - centre), 0, whole - length);
    };
    const top = start(height, small.height, (i) => Math.floor(i / small.width));
    const left = start(width, small.width, (i) => i % small.width);
    return Array(channels).fill(placed(small, top, left));
  }

  function asOnBlack(colours) {
    const factor = Math.ceil(longerSide(colours[0]) / WORKING_SIDE);
    let levels = grey(colours.map((colour) => mapped(reduced(colour, factor), (value) => Math.floor(value + 0.5))));
    if (greatest(levels.data) - least(levels.data) < 255 * LEAST_CONTRAST) return undefined;
    const isBright = percentile(border(levels), 0.5) > 255 / 2;
    levels = mapped(levels, (value) => (isBright ? 255 - value : value) / 255);
    if (levels.height === height && levels.width === width) return Array(channels).fill(levels);
    const ground = percentile(border(levels), 0.5), light = mapped(levels, (value) => Math.max(0, value - ground));
    const highest = greatest(light.data), noise = percentile(border(levels).map((value) => Math.abs(value - ground)), 0.5);
    if (highest < LEAST_CONTRAST) return undefined;
    const edge = Math.max(LEAST_LIGHT * highest, NOISE * noise);
    const object = mapped(cut(light, boxOf(light, (value) => value > edge)), (value) => value / highest);
    const small = mapped(scaled(object, Math.min(height / object.height, width / object.width)), (value) => clipped(value, 0, 1));
    return Array(channels).fill(placed(small, (height - small.height + 1) >> 1, (width - small.width + 1) >> 1));
  }

  function asPlain(colours) {
    const asLevel = (value) => clipped(Math.floor(value + 0.5), 0, 255);
    const factor = Math.ceil(longerSide(colours[0]) / READ_SIDE);
    const read = colours.map((colour) => mapped(reduced(colour, factor), asLevel)), { height: rows, width: columns } = read[0];
    const sides = columns * height >= rows * width
      ? [Math.max(1, round(rows / columns * width)), width]
      : [height, Math.max(1, round(columns / rows * height))];
    const [top, left] = [round((height - sides[0]) / 2), round((width - sides[1]) / 2)];
    const planes = channels === 1 ? [grey(read)] : read;
    return planes.map((each) => placed(mapped(resized(each, ...sides, FILTERS.bicubic, asLevel), (value) => value / 255), top, left));
  }

  const PREPARATIONS = {
    handwriting: [asHandwriting, [255, 0]],  // what is transparent counts as white; where nothing is then, as black
    on_black: [asOnBlack, [255, 0]],
    plain: [asPlain, [0]],
  };

  function coloursOf({ width, height, data }, paper) {
    return [0, 1, 2].map((channel) => plane(height, width, Float32Array.from({ length: width * height }, (_, i) => {
      const alpha = data[4 * i + 3] / 255;
      return Math.round(data[4 * i + channel] * alpha + paper * (1 - alpha));
    })));
  }

  async function prepare(picture) {
    let bitmap;
    try {
      bitmap = await createImageBitmap(picture, { colorSpaceConversion: "none" });
    } catch {
      throw new Error("the file is not a picture that this browser reads");
    }
    const drawing = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    drawing.drawImage(bitmap, 0, 0);
    const pixels = drawing.getImageData(0, 0, bitmap.width, bitmap.height);
    const [as, papers] = PREPARATIONS[dataset.preparation];
    for (const paper of papers) {
      const image = as(coloursOf(pixels, paper));
      if (image) return image;
    }
    throw new Error("the file holds nothing: its pixels hardly differ");
  }

  // The network

  const asBytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

  async function unpacked(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function open() {
    const { loader, program } = window.liflineRuntime;
    ort.env.wasm.numThreads = 1;  // more need headers that a file has not
    ort.env.wasm.wasmBinary = await unpacked(asBytes(program));
    ort.env.wasm.wasmPaths = { mjs: `data:text/javascript;base64,${loader}` };
    return ort.InferenceSession.create(asBytes(onnx));
  }

  function asJson(image) {
    const level = (channel, i) => round(image[channel].data[i] * 255);
    return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) =>
      channels === 1 ? level(0, y * width + x) : [0, 1, 2].map((channel) => level(channel, y * width + x))));
  }

  function stepsOf({ dims: [numSteps], data }) {
    const length = data.length / numSteps;
    return Array.from({ length: numSteps }, (_, step) => data.subarray(step * length, (step + 1) * length));
  }

  async function decide(image) {
    const values = new Float32Array(channels * height * width);
    image.forEach(({ data }, channel) => values.set(data, channel * height * width));
    const shown = new ort.Tensor("float32", values, [1, channels, height, width]);
    const found = await (await session).run({ image: shown }, ["spikes", "class", ...hidden]);
    const spikes = stepsOf(found.spikes).map((step) => Array.from(step, Number)), decided = Number(found.class.data[0]);
    const counts = dataset.class_names.map((_, i) => spikes.filter((step) => step[i]).length);
    const hiddenSpikes = spikes.map(() => []);
    let numHidden = 0;
    for (const name of hidden) {
      const steps = stepsOf(found[name]);
      steps.forEach((step, t) => step.forEach((spike, i) => { if (spike > 0) hiddenSpikes[t].push(numHidden + i); }));
      numHidden += steps[0].length;
    }
    return {
      class: dataset.class_names[decided],
      is_decided: counts.some(Boolean) || membranesDecide,
      confidence: counts[decided] / Math.max(1, counts.reduce((a, b) => a + b, 0)),
      classes: dataset.class_names, counts, spikes,
      num_hidden: numHidden, hidden_spikes: hiddenSpikes, image: asJson(image),
    };
  }

  async function predict(picture, type) {
    try {
      return await decide(await prepare(new Blob([picture], { type })));
    } catch (error) {
      return { error: error.message };
    }
  }

  const session = open();
  session.catch(() => {});  // who asks is told
  return { dataset: async () => dataset, predict };
})();
