// Teaching: the lesson's dialog, with its live curve and its figures.

import * as api from "./api.js";
import { element } from "./panel.js";

const WORDS = {
  idle: "", extracting: "The frozen models read the corrected pictures …", training: "The head learns …",
  scoring: "Both heads name the pictures held out …", done: "Done. The new head lies in", failed: "It failed:",
};
const FIGURES = { top1: "top-1", class_mean: "mean of classes" };
const RUNNING = ["extracting", "training", "scoring"];
const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
const get = (id) => document.getElementById(id);

export class LessonDialog {
  /**
   * @param on What is told of: `compared(heads)` and `failed(error)`; and asked for: `names()`.
   */
  constructor(leastPictures, on) {
    this.least = leastPictures;
    this.on = on;
    this.dialog = get("teach-dialog");
    get("teach-begin").addEventListener("click", () => this.try(async () => {
      await api.teach({ steps: Number(get("teach-steps").value) || 150, ...(on.names() && { names: on.names() }) });
      this.watch();
    }));
    get("teach-stop").addEventListener("click", () => this.try(async () => this.show(await api.stopLesson())));
    get("teach-compare").addEventListener("click", () => this.try(async () => {
      on.compared((await api.compare()).heads);
      this.dialog.close();
    }));
  }

  async try(action) {
    try {
      await action();
    } catch (error) {
      this.on.failed(error);
    }
  }

  open() {
    this.dialog.showModal();
    this.try(async () => {
      const { saved } = await api.pictures();
      const missing = this.least - saved.pictures;
      get("teach-saved").textContent = `Saved: ${counted(saved.regions, "region")} of ${counted(saved.pictures, "picture")}. A quarter of ` +
        "the pictures is held out, to measure on." +
        (missing > 0 ? ` Save ${counted(missing, "picture")} more first.` : "");
      get("teach-begin").disabled = missing > 0;
      this.watch();
    });
  }

  /** Follow the lesson while it runs. */
  async watch() {
    clearTimeout(this.timer);
    await this.try(async () => {
      const lesson = await api.lesson();
      this.show(lesson);
      if (RUNNING.includes(lesson.state)) this.timer = setTimeout(() => this.watch(), 800);
    });
  }

  show(lesson) {
    const running = RUNNING.includes(lesson.state);
    get("teach-state").textContent = `${WORDS[lesson.state]} ${lesson.error ?? ""}${lesson.state === "done" ? lesson.folder : ""}`;
    get("teach-begin-row").hidden = running;
    get("teach-stop").hidden = !running;
    get("teach-compare").hidden = lesson.state !== "done";
    this.curve(lesson);
    this.figures(lesson.figures);
  }

  curve({ loss, steps }) {
    const svg = get("teach-curve");
    svg.toggleAttribute("hidden", loss.length < 2);
    if (loss.length < 2) return;
    const most = Math.max(...loss.map(([, value]) => value)), x = (step) => 34 + (step / steps) * 436;
    const y = (value) => 128 - (value / most) * 112;
    const svgElement = (tag, values, text = "") => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(values)) made.setAttribute(name, value);
      made.textContent = text;
      return made;
    };
    svg.replaceChildren(
      svgElement("path", { d: "M34 12V128H474", class: "axis" }),
      svgElement("text", { x: 30, y: 20, "text-anchor": "end" }, most.toPrecision(2)),
      svgElement("text", { x: 30, y: 131, "text-anchor": "end" }, "0"),
      svgElement("text", { x: 474, y: 145, "text-anchor": "end" }, `${steps} steps`),
      svgElement("path", { d: "M" + loss.map(([step, value]) => `${x(step)} ${y(value)}`).join("L"), class: "line" }));
    svg.setAttribute("aria-label", `Loss by step, now ${loss.at(-1)[1].toPrecision(2)} at step ${loss.at(-1)[0]}`);
  }

  figures(figures) {
    const table = get("teach-figures");
    table.hidden = !figures;
    if (!figures) return;
    const keys = Object.keys(figures.before).filter((key) =>
      [figures.before[key], figures.after[key]].every((value) => typeof value === "number" && value <= 1));
    const percent = (value) => `${(100 * value).toFixed(1)} %`;
    table.replaceChildren(
      element("caption", {}, `On ${counted(figures.regions, "region")} of ${counted(figures.images, "picture")} held out`),
      element("tr", {}, element("td", {}), element("th", { scope: "col" }, "before"), element("th", { scope: "col" }, "after")),
      ...keys.map((key) => element("tr", {}, element("th", { scope: "row" }, FIGURES[key] ?? key.replaceAll("_", " ")),
        element("td", {}, percent(figures.before[key])), element("td", {}, percent(figures.after[key])))));
  }
}
