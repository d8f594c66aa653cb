// The picture with its regions, and the tools that point at it: mouse, touch, pen and keys.

import { draw, encode } from "./masks.js";
import { View } from "./view.js";

const COLOURS = ["#d1495b", "#1f7a8c", "#8f5bd6", "#b85c00", "#2e8b57", "#c2408f", "#3d6fd1", "#7a6a00"];
const NEAR = 5; // CSS pixels: a shorter drag is a click

/** Return the colour and the letter of the region at a place in the list. */
export const look = (index) => ({
  colour: COLOURS[index % COLOURS.length],
  letter: index < 26 ? String.fromCharCode(65 + index) : String(index + 1),
});

export class Stage {
  /**
   * @param canvas Where it is drawn.
   * @param on What is told of: `box([x1, y1, x2, y2])`, `point(x, y, event)`, `mask(rle)`, `hover(x, y)`,
   *   `cross(x, y)`.
   */
  constructor(canvas, on) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.on = on;
    this.view = new View();
    this.tool = "box";
    this.brush = 14;
    this.regions = [];
    this.chosen = -1;
    this.drawn = new WeakMap();
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
  }

  show(picture) {
    this.picture = picture;
    this.preview = null;
    this.cross = null;
    this.corner = null;
    this.fit();
  }

  update(regions, chosen) {
    this.regions = regions;
    this.chosen = chosen;
    this.paint();
  }

  setTool(tool) {
    this.tool = tool;
    this.drag = this.corner = this.preview = null;
    this.paint();
  }

  setPreview(mask) {
    this.preview = mask;
    this.paint();
  }

  /** Show where a head looks: `canvas`, a pixel for each patch, over the share `covered` of both sides; or null. */
  setHeat(heat) {
    this.heat = heat;
    this.paint();
  }

  fit() {
    if (this.picture) this.view.fit(this.picture, this.window);
    this.paint();
  }

  zoom(factor) {
    this.view.zoom(factor, this.window.width / 2, this.window.height / 2);
    this.paint();
  }

  get window() {
    return { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
  }

  resize() {
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.view.fitted) this.fit();
    else this.paint();
  }

  paint() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paintNow();
    });
  }

  paintNow() {
    const { context: c, view, picture } = this;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!picture) return;
    const ratio = devicePixelRatio;
    c.setTransform(view.scale * ratio, 0, 0, view.scale * ratio, view.x * ratio, view.y * ratio);
    c.imageSmoothingEnabled = view.scale < 3;
    c.drawImage(picture.bitmap, 0, 0, picture.width, picture.height);
    if (this.heat) this.paintHeat();
    this.regions.forEach((region, index) => this.paintMask(region.mask, look(index).colour, index === this.chosen));
    if (this.preview) this.paintMask(this.preview, "#ffffff", true);
    this.regions.forEach((region, index) => this.paintRegion(region, index));
    this.paintTool();
  }

  /** Dim the picture, and paint the heat over it: one hue that is seen on any picture. */
  paintHeat() {
    const { context: c, picture: { width, height }, heat: { canvas, covered } } = this;
    c.fillStyle = "#0b0d12a8";
    c.fillRect(0, 0, width, height);
    c.imageSmoothingEnabled = true;
    c.drawImage(canvas, 0, 0, width * covered, height * covered);
  }

  paintMask(mask, colour, strong) {
    if (!mask) return;
    let drawn = this.drawn.get(mask);
    if (drawn?.colour !== colour) {
      drawn = { ...draw(mask, colour), colour };
      this.drawn.set(mask, drawn);
    }
    const c = this.context, thin = 1 / this.view.scale;
    if (!this.heat) {
      c.globalAlpha = strong ? 0.38 : 0.2;
      c.drawImage(drawn.canvas, 0, 0);
      c.globalAlpha = 1;
    }
    c.lineWidth = 3.2 * thin;
    c.strokeStyle = colour === "#ffffff" ? "#000a" : "#fffc";
    c.stroke(drawn.outline);
    c.lineWidth = 1.6 * thin;
    c.strokeStyle = colour;
    c.stroke(drawn.outline);
  }

  paintRegion(region, index) {
    const c = this.context, thin = 1 / this.view.scale, { colour, letter } = look(index);
    const [x1, y1, x2, y2] = region.box;
    c.strokeStyle = colour;
    c.lineWidth = (index === this.chosen ? 2.4 : 1.2) * thin;
    c.strokeRect(x1, y1, x2 - x1, y2 - y1);
    (region.prompt.points ?? []).forEach(([x, y], at) =>
      this.paintPoint(x, y, (region.prompt.inside ?? [])[at] === false ? "#b3261e" : "#1d7a46"));
    const size = 15 * thin;
    c.font = `700 ${12 * thin}px system-ui, sans-serif`;
    const width = Math.max(size, c.measureText(letter).width + 7 * thin);
    c.fillStyle = colour;
    c.fillRect(x1 - thin, Math.max(0, y1 - size), width, size);
    c.fillStyle = "#fff";
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(letter, x1 - thin + width / 2, Math.max(0, y1 - size) + size / 2 + thin / 2);
  }

  paintPoint(x, y, colour) {
    const c = this.context, thin = 1 / this.view.scale;
    c.beginPath();
    c.arc(x, y, 5 * thin, 0, 2 * Math.PI);
    c.fillStyle = colour;
    c.fill();
    c.lineWidth = 2 * thin;
    c.strokeStyle = "#fff";
    c.stroke();
  }

  paintTool() {
    const c = this.context, thin = 1 / this.view.scale;
    if (this.drag?.kind === "box" || this.corner) {
      const [x1, y1] = this.drag?.from ?? this.corner;
      const [x2, y2] = this.drag?.to ?? this.cross;
      c.setLineDash([6 * thin, 4 * thin]);
      for (const [colour, width] of [["#000a", 3], ["#fff", 1.5]]) {
        c.strokeStyle = colour;
        c.lineWidth = width * thin;
        c.strokeRect(x1, y1, x2 - x1, y2 - y1);
      }
      c.setLineDash([]);
    }
    if (this.drag?.kind === "brush") {
      c.globalAlpha = 0.55;
      c.drawImage(this.drag.canvas, 0, 0);
      c.globalAlpha = 1;
    }
    if (this.cross && this.canvas.matches(":focus")) {
      const [x, y] = this.cross;
      for (const [colour, width] of [["#000a", 3.5], ["#fff", 1.5]]) {
        c.strokeStyle = colour;
        c.lineWidth = width * thin;
        c.beginPath();
        c.moveTo(x - 11 * thin, y);
        c.lineTo(x + 11 * thin, y);
        c.moveTo(x, y - 11 * thin);
        c.lineTo(x, y + 11 * thin);
        c.stroke();
      }
    }
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.up(event, true));
    canvas.addEventListener("pointerleave", () => this.on.hover(null));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.paint());
    canvas.addEventListener("blur", () => this.paint());
  }

  place(event, clamp = true) {
    const bounds = this.canvas.getBoundingClientRect();
    const [x, y] = this.view.toPicture(event.clientX - bounds.left, event.clientY - bounds.top);
    if (!clamp) return [x, y];
    return [Math.min(Math.max(x, 0), this.picture.width), Math.min(Math.max(y, 0), this.picture.height)];
  }

  down(event) {
    if (!this.picture) return;
    this.canvas.setPointerCapture?.(event.pointerId);
    this.pointers.set(event.pointerId, event);
    this.on.hover(null);
    if (this.pointers.size === 2) {
      this.drag = { kind: "pinch" };
      return;
    }
    const from = this.place(event);
    this.start = event;
    if (this.tool === "pan" || event.button === 1 || this.space) this.drag = { kind: "pan" };
    else if (this.tool === "brush") {
      this.drag = { kind: "brush", canvas: this.blank() };
      this.dab(from, from);
    } else if (event.button === 0 || this.tool === "point") this.drag = { kind: this.tool, from, to: from };
  }

  moved(event) {
    if (!this.picture) return;
    const before = this.pointers.get(event.pointerId);
    if (!before || !this.drag) {
      const [x, y] = this.place(event, false);
      const inside = x >= 0 && y >= 0 && x <= this.picture.width && y <= this.picture.height;
      this.on.hover(inside ? [x, y] : null);
      return;
    }
    if (this.drag.kind === "pinch") this.pinch(event, before);
    else if (this.drag.kind === "pan") this.view.move(event.clientX - before.clientX, event.clientY - before.clientY);
    else if (this.drag.kind === "brush") this.dab(this.place(before), this.place(event));
    else this.drag.to = this.place(event);
    this.pointers.set(event.pointerId, event);
    this.paint();
  }

  pinch(event, before) {
    const other = [...this.pointers.values()].find((each) => each.pointerId !== event.pointerId);
    if (!other) return;
    const bounds = this.canvas.getBoundingClientRect();
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    const [x, y] = [(event.clientX + other.clientX) / 2 - bounds.left, (event.clientY + other.clientY) / 2 - bounds.top];
    this.view.move((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
    this.view.zoom(apart(event) / Math.max(apart(before), 1), x, y);
  }

  up(event, cancelled = false) {
    this.pointers.delete(event.pointerId);
    const drag = this.drag;
    if (!drag || drag.kind === "pinch") {
      if (!this.pointers.size) this.drag = null;
      return;
    }
    this.drag = null;
    this.paint();
    if (cancelled || drag.kind === "pan") return;
    if (drag.kind === "brush") this.finishBrush(drag.canvas);
    else if (Math.hypot(event.clientX - this.start.clientX, event.clientY - this.start.clientY) < NEAR) {
      const [x, y] = drag.from;
      this.on.point(x, y, { shift: event.shiftKey, alt: event.altKey || event.button === 2 });
    } else if (drag.kind === "box") this.finishBox(drag.from, drag.to);
  }

  finishBox([x1, y1], [x2, y2]) {
    const box = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
    if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.on.box(box);
  }

  blank() {
    const canvas = document.createElement("canvas");
    canvas.width = this.picture.width;
    canvas.height = this.picture.height;
    return canvas;
  }

  /** Paint with the brush, whose size is in CSS pixels, from one place to another. */
  dab([x1, y1], [x2, y2]) {
    const c = this.drag.canvas.getContext("2d");
    c.strokeStyle = "#ffd166";
    c.lineCap = "round";
    c.lineWidth = Math.max(1, this.brush / this.view.scale);
    c.beginPath();
    c.moveTo(x1, y1);
    c.lineTo(x2 + 0.01, y2);
    c.stroke();
    this.paint();
  }

  finishBrush(canvas) {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const pixels = Uint8Array.from({ length: canvas.width * canvas.height }, (_, at) => (data[at * 4 + 3] > 127 ? 1 : 0));
    if (pixels.includes(1)) this.on.mask(encode(pixels, canvas.width, canvas.height));
  }

  wheel(event) {
    if (!this.picture) return;
    event.preventDefault();
    const bounds = this.canvas.getBoundingClientRect();
    this.view.zoom(Math.exp(-event.deltaY / 400), event.clientX - bounds.left, event.clientY - bounds.top);
    this.paint();
  }

  key(event) {
    if (!this.picture || event.ctrlKey || event.metaKey) return;
    const step = (event.shiftKey ? 10 : 1) * Math.max(1, Math.round(3 / this.view.scale));
    const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    this.cross ??= [this.picture.width / 2, this.picture.height / 2];
    if (way) {
      const [x, y] = this.cross;
      this.cross = [
        Math.min(Math.max(x + way[0], 0), this.picture.width), Math.min(Math.max(y + way[1], 0), this.picture.height),
      ];
      this.on.cross(...this.cross);
    } else if (event.key === "Enter") this.enter(event);
    else if (event.key === "Escape") this.corner = null;
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.paint();
  }

  enter(event) {
    if (this.tool === "brush") {
      this.drag = { kind: "brush", canvas: this.blank() };
      this.dab(this.cross, this.cross);
      const { canvas } = this.drag;
      this.drag = null;
      this.finishBrush(canvas);
    } else if (this.tool === "pan") {
      const { width, height } = this.canvas.getBoundingClientRect();
      const [x, y] = this.view.toPicture(width / 2, height / 2);
      this.view.move((x - this.cross[0]) * this.view.scale, (y - this.cross[1]) * this.view.scale);
    } else if (this.tool === "point") this.on.point(...this.cross, { shift: event.shiftKey, alt: event.altKey });
    else if (!this.corner) this.corner = this.cross;
    else {
      const corner = this.corner;
      this.corner = null;
      this.finishBox(corner, this.cross);
    }
  }
}
