// Why a region has its names: where a head looks in the picture, and the nearest labelled regions.

import * as api from "./api.js";
import { element } from "./panel.js";

const NEAREST = 6, THUMB = 112, MOST_THUMBS = 64;
const HUE = [255, 200, 0]; // style.css has it too, for the scale under the picture's heat
const percent = (share) => {
  const value = 100 * share;
  return `${value > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} %`;
};

/** Return a canvas of a pixel for each patch: the more attention, the less transparent. */
function heatOf(grid) {
  const side = grid.length, most = Math.max(...grid.flat());
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d"), image = context.createImageData(side, side);
  grid.flat().forEach((share, at) => image.data.set([...HUE, Math.round((225 * share) / most)], 4 * at));
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Return how much of a map lies inside a box, given as shares of the picture's sides. */
export function shareInside(grid, covered, [x1, y1, x2, y2]) {
  const step = covered / grid.length;
  const overlap = (cell, from, to) => Math.max(0, Math.min(to, (cell + 1) * step) - Math.max(from, cell * step)) / step;
  let sum = 0;
  grid.forEach((line, row) => line.forEach((share, column) => {
    sum += share * overlap(row, y1, y2) * overlap(column, x1, x2);
  }));
  return sum;
}

export class Why {
  /**
   * @param on What is told of: `heat(heat)`, a canvas and how much of the picture it covers, or null;
   *   `changed()`, when the panel is to be drawn again; `tell(text)`, a line for the status.
   */
  constructor(on) {
    this.on = on;
    this.isOn = false;
    this.key = null;
    this.head = 0;
    this.thumbs = new Map();
  }

  toggle() {
    this.isOn = !this.isOn;
    this.on.changed();
    if (!this.isOn) this.on.tell("Why: off");
    else if (!this.key) this.on.tell("Why: choose a region");
  }

  /** Ask about the chosen region, unless what is shown is of it already. */
  follow(picture, regions, chosen, heads) {
    const region = this.isOn && picture ? regions[chosen] : undefined;
    const prompts = regions.map((each) => each.prompt);
    const key = region ? JSON.stringify([picture.id, prompts, chosen, heads.map((head) => head.name)]) : null;
    this.region = region;
    this.picture = picture;
    if (key === this.key) return;
    this.key = key;
    this.asking?.abort();
    this.heads = this.found = this.problem = null;
    this.paint();
    // Behind the question for the names, which whoever draws asks next.
    if (key) queueMicrotask(() => { if (key === this.key) this.ask(picture, prompts, chosen); });
  }

  async ask(picture, prompts, region) {
    const mine = (this.asking = new AbortController());
    const question = (nearest) => picture.ask((id) => api.why(id, { prompts, region, nearest }, mine.signal));
    // The search reads the stores when it is first asked: the map does not wait for it.
    const looks = question(0), search = question(NEAREST);
    search.catch(() => {}); // told below, unless the map fails as well
    try {
      this.heads = (await looks).heads;
      if (mine.signal.aborted) return;
      this.paint();
      this.on.changed();
      this.on.tell(`Why: ${this.sentence()}`);
      this.found = await search;
    } catch (error) {
      if (mine.signal.aborted || error.name === "AbortError") return;
      this.problem = error.message;
    }
    if (!mine.signal.aborted) this.on.changed();
  }

  get shown() {
    return this.heads?.[this.head] ?? this.heads?.[0];
  }

  paint() {
    const shown = this.shown;
    this.on.heat(shown?.attention ? { canvas: heatOf(shown.attention), covered: shown.covered } : null);
  }

  show(head) {
    this.head = head;
    this.paint();
    this.on.changed();
    this.on.tell(`Why: ${this.sentence()}`);
  }

  /** Return in words what the heat shows. */
  sentence() {
    const { attention, covered, note } = this.shown, { width, height } = this.picture;
    if (!attention) return note;
    const [x1, y1, x2, y2] = this.region.box, box = [x1 / width, y1 / height, x2 / width, y2 / height];
    return `${percent(shareInside(attention, covered, box))} of the attention lies in the region's box, ` +
      `which is ${percent((box[2] - box[0]) * (box[3] - box[1]))} of the picture.`;
  }

  /** Return what the panel shows below the chosen region. */
  section() {
    return element("div", { class: "why" },
      element("button", {
        type: "button", class: "plain", "aria-pressed": String(this.isOn), "data-focus": "why",
        title: "Where the head looks, and the nearest labelled regions (W)", onclick: () => this.toggle(),
      }, "Why"),
      this.isOn && this.looks(),
      this.isOn && this.heads && this.nearest());
  }

  looks() {
    if (this.problem && !this.heads) return element("p", {}, this.problem);
    if (!this.heads) return element("p", { class: "soft" }, "Asking …");
    const { attention, layer, layers, class_token: classToken } = this.shown;
    return element("div", { class: "looks" },
      this.heads.length > 1 && element("div", { class: "segments", role: "group", "aria-label": "Whose attention" },
        ...this.heads.map(({ head }, index) => element("button", {
          type: "button", "aria-pressed": String(index === this.heads.indexOf(this.shown)),
          "data-focus": `why-head-${index}`, onclick: () => this.show(index),
        }, head))),
      element("p", {}, this.sentence()),
      attention && element("div", { class: "heat-scale" },
        element("span", {}, "0"), element("span", { class: "ramp" }),
        element("span", {}, `${percent(Math.max(...attention.flat()))} of it in a patch`)),
      attention && element("p", { class: "soft" }, `Layer ${layer + 1} of ${layers}, the mean of its attention heads.` +
        (classToken >= 0.005 ? ` Another ${percent(classToken)} of all went to CLIP's class token, which has no place.` : "")));
  }

  nearest() {
    const list = this.found?.nearest ?? [], pictured = list.some(({ picture }) => picture !== null);
    return element("div", { class: "nearest" },
      element("h3", {}, "Nearest labelled regions"),
      !this.found && !this.problem && element("p", { class: "soft" }, "Looking through the stores …"),
      list.length > 0 && element("ol", {}, ...list.map((each) => this.neighbour(each, pictured))),
      (this.problem ?? this.found?.note) && element("p", { class: "soft" }, this.problem ?? this.found.note));
  }

  /** Return a line of the list; where any has a thumbnail, `pictured`, those without keep its place free. */
  neighbour({ name, similarity, file, box, store, picture }, pictured) {
    const here = picture !== null && picture === this.picture.number;
    return element("li", { title: `${file} at ${box.map(Math.round).join(", ")}, in ${store}` },
      picture === null ? pictured && element("span", { class: "thumb" }) : this.thumb(picture, box, name),
      element("span", { class: "what" }, name, element("small", {}, here ? "in this picture" : file)),
      element("span", { class: "percent", title: "Cosine of CLIP's embeddings" }, similarity.toFixed(2)));
  }

  /** Return a small canvas with a region of an offered picture; it is drawn when the picture is there. */
  thumb(number, box, name) {
    const canvas = element("canvas", {
      class: "thumb", width: THUMB, height: THUMB, role: "img", "aria-label": `The labelled ${name}`,
    });
    const key = JSON.stringify([number, box]);
    const bitmap = this.thumbs.get(key) ?? this.cut(number, box);
    this.thumbs.delete(key);
    this.thumbs.set(key, bitmap);
    if (this.thumbs.size > MOST_THUMBS) this.thumbs.delete(this.thumbs.keys().next().value);
    bitmap.then((cut) => {
      const scale = Math.min(THUMB / cut.width, THUMB / cut.height), [w, h] = [cut.width * scale, cut.height * scale];
      canvas.getContext("2d").drawImage(cut, (THUMB - w) / 2, (THUMB - h) / 2, w, h);
    }, () => this.thumbs.delete(key)); // the text beside it says all
    return canvas;
  }

  /** Return a region of an offered picture with a little around it. */
  async cut(number, [x1, y1, x2, y2]) {
    const response = await fetch(api.pictureAddress(number));
    if (!response.ok) throw new Error(`picture ${number}`);
    const margin = 0.15 * Math.max(x2 - x1, y2 - y1), whole = await createImageBitmap(await response.blob());
    const left = Math.max(0, Math.floor(x1 - margin)), top = Math.max(0, Math.floor(y1 - margin));
    const width = Math.max(1, Math.min(whole.width, Math.ceil(x2 + margin)) - left);
    const height = Math.max(1, Math.min(whole.height, Math.ceil(y2 + margin)) - top);
    const scale = Math.min(1, THUMB / Math.max(width, height)), size = (side) => Math.max(1, Math.round(side * scale));
    const small = await createImageBitmap(whole, left, top, width, height, {
      resizeWidth: size(width), resizeHeight: size(height), resizeQuality: "medium",
    });
    whole.close();
    return small;
  }
}
