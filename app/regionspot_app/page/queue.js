// The queue: the offered pictures filtered and in an order, what is done, and the look at all of them.

import * as api from "./api.js";
import { element } from "./panel.js";

const POLL_MS = 1000, REFRESH_EVERY = 10;
const get = (id) => document.getElementById(id);
const counted = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

export class Queue {
  /**
   * @param on What is told of: `open(number)` and `failed(error)`; and asked for: `current()`, a number or null, and
   * `words()`, names or null for the app's own.
   */
  constructor(on) {
    this.on = on;
    this.pictures = [];
    this.shown = []; // numbers of pictures, as filtered and in their order
    this.place = 0; // where the current picture was last
    this.looks = new Map();
    this.asked = 0;
    get("queue-previous").addEventListener("click", () => this.step(-1));
    get("queue-next").addEventListener("click", () => this.step(1));
    for (const id of ["queue-only", "queue-name", "queue-order"]) get(id).addEventListener("change", () => this.refresh());
    get("queue-look").addEventListener("click", () => this.try(() => (this.running ? this.stop() : this.look())));
  }

  begin(pictures, heads) {
    this.pictures = pictures;
    this.shown = pictures.map((_, number) => number);
    get("queue").hidden = !pictures.length;
    if (!pictures.length) return;
    this.setHeads(heads);
    this.list();
    this.try(async () => {
      const tour = await api.look();
      if (tour.state === "running") this.watch();
    });
  }

  /** Offer what needs two heads only where there are two; answers of other heads are others. */
  setHeads(heads) {
    for (const option of get("queue").querySelectorAll("option[data-heads]")) {
      option.hidden = option.disabled = heads.length < 2;
      if (option.disabled && option.selected) option.parentElement.selectedIndex = 0;
    }
    this.refresh();
  }

  async try(action) {
    try {
      return await action();
    } catch (error) {
      this.on.failed(error);
      return undefined;
    }
  }

  /** Ask the app for the pictures that the filter leaves. */
  async refresh() {
    if (!this.pictures.length) return;
    const asked = ++this.asked, names = this.on.words(), name = get("queue-name").value.trim();
    const body = { only: get("queue-only").value, order: get("queue-order").value, ...(name && { name }), ...(names && { names }) };
    await this.try(async () => {
      const found = await api.queue(body);
      if (asked !== this.asked) return;
      this.looked = found.looked;
      this.looks = new Map(found.pictures.map((each) => [each.number, each.look]));
      get("queue-names").replaceChildren(...found.names.slice(0, 2000).map((value) => element("option", { value })));
      const numbers = found.pictures.map((each) => each.number);
      const moved = numbers.length !== this.shown.length || numbers.some((number, place) => number !== this.shown[place]);
      this.shown = numbers;
      if (moved) this.list();
      else this.describe();
    });
  }

  list() {
    get("pictures").replaceChildren(...this.shown.map((number) =>
      element("button", { type: "button", "data-number": number, onclick: () => this.on.open(number) },
        element("img", { src: api.pictureAddress(number), alt: "", loading: "lazy", decoding: "async" }))));
    this.describe();
    this.mark();
  }

  /** Write what is known of each picture, and how many are done. */
  describe() {
    for (const button of get("pictures").children) {
      const number = Number(button.dataset.number), { name, done } = this.pictures[number];
      const label = [name, done && "done", ...this.words(this.looks.get(number))].filter(Boolean).join(", ");
      button.classList.toggle("done", done);
      button.title = label;
      button.setAttribute("aria-label", label);
    }
    const done = this.pictures.filter((each) => each.done).length, total = this.pictures.length;
    get("queue-text").textContent = `${done.toLocaleString("en")} of ${total.toLocaleString("en")} done`;
    get("queue-progress").max = total;
    get("queue-progress").value = done;
    if (!this.running) get("queue-look").textContent = this.looked >= total ? "Look again" : "Look at all";
    this.say();
  }

  words(look) {
    if (!look) return [];
    return [
      look.least !== null && `least sure ${Math.round(100 * look.least)} %`,
      look.none_of_these > 0 && `${counted(look.none_of_these, "region", "regions")} of none of these`,
      look.differing > 0 && `${counted(look.differing, "region", "regions")} that the heads differ on`,
    ];
  }

  /** Mark the picture that is open. */
  mark() {
    const current = this.on.current();
    for (const button of get("pictures").children) {
      const isCurrent = Number(button.dataset.number) === current;
      button.setAttribute("aria-current", String(isCurrent));
      if (isCurrent) button.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    const place = this.shown.indexOf(current);
    if (place >= 0) this.place = place;
    get("queue-previous").disabled = this.neighbour(-1) === undefined;
    get("queue-next").disabled = this.neighbour(1) === undefined;
  }

  /** Return the number of the picture before or behind the open one; one that the filter hid kept its place. */
  neighbour(by) {
    const place = this.shown.indexOf(this.on.current());
    if (place >= 0) return this.shown[place + by];
    return this.shown[by > 0 ? this.place : this.place - 1];
  }

  step(by) {
    const number = this.neighbour(by);
    if (number !== undefined) this.on.open(number);
  }

  setDone(number, done) {
    if (this.pictures[number].done === done) return;
    this.pictures[number].done = done;
    this.describe();
  }

  /** Return the number of the next picture that is not done, else of the first one; undefined for none. */
  nextOpen() {
    const place = this.shown.indexOf(this.on.current());
    const isOpen = (number) => !this.pictures[number].done;
    const next = this.shown.slice(place < 0 ? this.place : place + 1).find(isOpen) ?? this.shown.find(isOpen);
    // The one that is done leaves the list where only others are asked for.
    if (get("queue-only").value !== "all") this.refresh();
    return next;
  }

  // The look at all pictures

  async look() {
    const names = this.on.words();
    await api.beginLook({ again: this.looked >= this.pictures.length, ...(names && { names }) });
    this.watch();
  }

  async stop() {
    this.follow(await api.stopLook());
  }

  /** Follow the look at all while it is at work. */
  async watch() {
    clearTimeout(this.timer);
    await this.try(async () => {
      this.follow(await api.look());
      if (this.running) this.timer = setTimeout(() => this.watch(), POLL_MS);
    });
  }

  follow(tour) {
    const ended = this.running && tour.state !== "running";
    this.running = tour.state === "running";
    this.tour = tour;
    const bar = get("look-progress");
    bar.hidden = !this.running;
    bar.max = Math.max(1, tour.total);
    bar.value = tour.looked;
    if (this.running) get("queue-look").textContent = "Stop looking";
    this.say();
    if (ended || tour.state !== "running" || tour.looked - (this.refreshed ?? 0) >= REFRESH_EVERY) {
      this.refreshed = this.running ? tour.looked : 0;
      this.refresh();
    }
  }

  /** Say how far the look at all is, or what the filter leaves. */
  say() {
    const { tour } = this;
    let text = "";
    if (this.running && tour.names_left) text = `Reading the words: ${tour.names_left.toLocaleString("en")} left`;
    else if (this.running) text = `Looked at ${tour.looked.toLocaleString("en")} of ${tour.total.toLocaleString("en")}`;
    else if (tour?.error) text = `The look at all failed: ${tour.error}`;
    else if (this.shown.length < this.pictures.length) text = `${counted(this.shown.length, "picture", "pictures")} shown`;
    if (tour?.failed) {
      const { picture, message } = tour.failures[0];
      text += `${text && ". "}${counted(tour.failed, "picture", "pictures")} could not be read; ${picture}: ${message}`;
    }
    if (get("queue-status").textContent !== text) get("queue-status").textContent = text;
  }
}
