// One open picture: its pixels, its id at the server, and what was asked about it.

import * as api from "./api.js";

export const keyOf = (prompt) => JSON.stringify(prompt);

export class Picture {
  /**
   * @param name What it is called.
   * @param blob Its file.
   * @param number Its number among those that the server offers; null for a file of one's own.
   */
  constructor(name, blob, number) {
    this.name = name;
    this.blob = blob;
    this.number = number;
    this.segmented = new Map();
    this.candidates = new Map();
  }

  /** Decode it for the screen and encode it for the models. */
  async open() {
    const bitmap = createImageBitmap(this.blob).catch(() => {
      throw new api.Refusal(0, "picture", `${this.name}: this browser cannot show the picture.`);
    });
    const [shown] = await Promise.all([bitmap, this.encode()]);
    this.bitmap = shown;
  }

  async encode() {
    const facts = await (this.number === null ? api.encodeFile(this.blob) : api.encodeOffered(this.number));
    Object.assign(this, { id: facts.image, width: facts.width, height: facts.height });
  }

  /** Ask about it; encode it again where the server has made room for others since. */
  async ask(question) {
    try {
      return await question(this.id);
    } catch (error) {
      if (error.code !== "not_encoded") throw error;
      await this.encode();
      return question(this.id);
    }
  }

  /** Segment the prompts that are new. */
  async segment(prompts, signal) {
    const fresh = prompts.filter((prompt) => !this.segmented.has(keyOf(prompt)));
    if (!fresh.length) return;
    const { regions } = await this.ask((id) => api.regions(id, { prompts: fresh }, signal));
    regions.forEach((region, index) => this.remember(fresh[index], region));
  }

  /** Return what each head calls the regions of prompts, best names first. */
  async names(prompts, words, signal) {
    const body = { prompts, top: 5, ...(words && { names: words }), ...(this.number !== null && { picture: this.number }) };
    return (await this.ask((id) => api.names(id, body, signal))).heads.map((head) => head.regions);
  }

  async everything() {
    const { regions } = await this.ask((id) => api.everything(id));
    regions.forEach((region) => this.remember(region.prompt, region));
    return regions.map((region) => region.prompt);
  }

  async preview(prompt, signal) {
    const { regions } = await this.ask((id) => api.regions(id, { prompts: [prompt] }, signal));
    return regions[0].mask;
  }

  /** Return SAM's three masks of a prompt, without the choice that it may have. */
  async masksOf({ choice, ...prompt }) {
    const key = keyOf(prompt);
    if (!this.candidates.has(key)) {
      const { regions } = await this.ask((id) => api.regions(id, { prompts: [prompt], candidates: true }));
      this.candidates.set(key, regions[0].candidates);
    }
    return this.candidates.get(key);
  }

  remember(prompt, { mask, box, predicted_iou }) {
    this.segmented.set(keyOf(prompt), { mask, box, predicted_iou });
  }

  /** Return a region with all that is known of it; until it is segmented, with where it was pointed at. */
  known(region) {
    const [x, y] = region.prompt.points?.[0] ?? [0, 0];
    const guess = { mask: region.prompt.mask ?? null, box: region.prompt.box ?? [x, y, x, y], predicted_iou: null };
    const { choice, ...prompt } = region.prompt;
    return {
      ...guess, ...this.segmented.get(keyOf(region.prompt)), candidates: this.candidates.get(keyOf(prompt)), ...region,
    };
  }
}
