// COCO's compressed run-length masks: columns one behind the other, runs of 0 and 1 in turn.

/** Return the run lengths in a text (pycocotools' maskApi.c, rleFrString). */
export function runs(text) {
  const lengths = [];
  for (let at = 0; at < text.length; ) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const bits = text.charCodeAt(at++) - 48;
      value |= (bits & 31) << shift;
      more = (bits & 32) !== 0;
      shift += 5;
      if (!more && bits & 16) value |= -1 << shift;
    }
    if (lengths.length > 2) value += lengths[lengths.length - 2];
    lengths.push(value);
  }
  return lengths;
}

/** Return a mask as bytes of 0 and 1, row after row. */
export function decode({ size: [height, width], counts }) {
  const pixels = new Uint8Array(width * height);
  let place = 0, inside = 0;
  for (const length of runs(counts)) {
    if (inside) {
      for (let at = place; at < place + length; at++) pixels[(at % height) * width + Math.floor(at / height)] = 1;
    }
    place += length;
    inside = 1 - inside;
  }
  return pixels;
}

/** Return the compressed run lengths of a mask of 0 and 1, row after row. */
export function encode(pixels, width, height) {
  const lengths = [];
  let value = 0, length = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (pixels[y * width + x] !== value) {
        lengths.push(length);
        length = 0;
        value = 1 - value;
      }
      length++;
    }
  }
  lengths.push(length);
  let counts = "";
  lengths.forEach((each, index) => {
    let rest = index > 2 ? each - lengths[index - 2] : each;
    for (let more = true; more; ) {
      let bits = rest & 31;
      rest >>= 5;
      more = bits & 16 ? rest !== -1 : rest !== 0;
      if (more) bits |= 32;
      counts += String.fromCharCode(bits + 48);
    }
  });
  return { size: [height, width], counts };
}

/** Return a canvas with a mask filled in a colour, and the lines around it in image pixels. */
export function draw(mask, colour) {
  const [height, width] = mask.size;
  const pixels = decode(mask);
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  for (let at = 0; at < pixels.length; at++) {
    if (pixels[at]) image.data.set([red, green, blue, 255], at * 4);
  }
  context.putImageData(image, 0, 0);
  return { canvas, outline: outline(pixels, width, height) };
}

/** Return a path along the borders between pixels of a mask and others. */
function outline(pixels, width, height) {
  const path = new Path2D();
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && pixels[y * width + x] === 1;
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x < width; x++) {
      if (at(x, y) === at(x, y - 1)) continue;
      const start = x;
      while (x + 1 < width && at(x + 1, y) !== at(x + 1, y - 1)) x++;
      path.moveTo(start, y);
      path.lineTo(x + 1, y);
    }
  }
  for (let x = 0; x <= width; x++) {
    for (let y = 0; y < height; y++) {
      if (at(x, y) === at(x - 1, y)) continue;
      const start = y;
      while (y + 1 < height && at(x, y + 1) !== at(x - 1, y + 1)) y++;
      path.moveTo(x, start);
      path.lineTo(x, y + 1);
    }
  }
  return path;
}
