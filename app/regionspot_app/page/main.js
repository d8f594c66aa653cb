// The page: what is done when somebody points, types or presses a key.

import * as api from "./api.js";
import { History } from "./history.js";
import { LessonDialog } from "./lesson.js";
import { element, Panel, verdict } from "./panel.js";
import { keyOf, Picture } from "./picture.js";
import { Queue } from "./queue.js";
import { Saving } from "./saving.js";
import { look, Stage } from "./stage.js";
import { Threshold } from "./threshold.js";
import { Why } from "./why.js";
import { WordsDialog } from "./words.js";

const NOTHING = "none of these";
const PREVIEW_MS = 90, WORDS_SECONDS = 1, LEAST_PICTURES = 3;
const get = (id) => document.getElementById(id);

let session, offered = [], picture = null, words = null, chosen = -1, sign = "new";
let opinions = []; // for each head, what it calls each region
const history = new History([]);

const stage = new Stage(get("canvas"), {
  box: (box) => add({ box: box.map(rounded) }),
  mask: (mask) => add({ mask }),
  point: (x, y, keys) => pointAt(rounded(x), rounded(y), keys),
  hover: preview, cross: (x, y) => status(`The cross is at ${Math.round(x)}, ${Math.round(y)}`),
});
const panel = new Panel(get("regions"), {
  choose, label, peek: (mask) => stage.setPreview(mask ?? null),
  remove: (index) => change(history.state.filter((_, at) => at !== index), -1),
  mask: chooseMask,
});
const least = new Threshold(get("threshold"), get("threshold-value"), () => draw());
const queue = new Queue({
  open: (number) => openOffered(number), current: () => picture?.number ?? null, words: () => words,
  failed: (error) => say(error.message),
});
const saving = new Saving({
  regions: regionsToSave, present: () => (unnamed() < 0 ? named() : null), failed: (error) => say(error.message),
  saved: (of) => { if (of.number !== null) queue.setDone(of.number, of.done); },
});
const why = new Why({ heat: (heat) => stage.setHeat(heat), changed: () => draw(), tell: (text) => status(text) });

const rounded = (value) => Math.round(value * 10) / 10;
const shown = () => history.state.map((region) => picture.known(region));
const replaced = (index, region) => history.state.map((each, at) => (at === index ? region : each));

// Regions

function add(prompt) {
  change([...history.state, { prompt }], history.state.length);
}

function pointAt(x, y, { shift, alt }) {
  const on = alt || sign === "remove" ? false : shift || sign === "add" ? true : null;
  const region = history.state[chosen];
  if (on === null || !region?.prompt.points) {
    if (on !== false) add({ points: [[x, y]], inside: [true] });
    else say("Choose a region made of points first; this point is then beside it.");
    return;
  }
  const { points, inside } = region.prompt;
  change(replaced(chosen, { ...region, prompt: { points: [...points, [x, y]], inside: [...inside, on] } }), chosen);
}

function chooseMask(index, choice) {
  const { choice: _, ...prompt } = history.state[index].prompt;
  change(replaced(index, { ...history.state[index], prompt: choice === null ? prompt : { ...prompt, choice } }), index);
}

function label(index, text) {
  const { label: _, ...region } = history.state[index];
  change(replaced(index, text ? { ...region, label: text } : region), index);
}

function choose(index) {
  chosen = index;
  stage.setPreview(null);
  draw();
  fetchMasks();
}

async function fetchMasks() {
  const region = history.state[chosen], of = picture;
  if (!region || region.prompt.mask || !session.choices) return;
  await attempt(async () => {
    await of.masksOf(region.prompt);
    if (of === picture) draw();
  });
}

function change(regions, choice) {
  history.push(regions);
  chosen = choice;
  changed(regions);
}

/** @param fresh The state, where it is one that nobody was asked about before: it is undone if it cannot be. */
function changed(fresh = null) {
  chosen = Math.min(chosen, history.state.length - 1);
  stage.setPreview(null);
  opinions = [];
  draw();
  ask(fresh);
  saveSoon();
}

let answered = Promise.resolve(); // when the last question was answered, well or not
const ask = (fresh = null) => (answered = askNames(fresh));

// Only the last question counts: an answer that comes too late is dropped.
let asking = null;
async function askNames(fresh) {
  asking?.abort();
  if (!history.state.length) return;
  const mine = (asking = new AbortController()), of = picture;
  const prompts = history.state.map((region) => region.prompt), current = () => !mine.signal.aborted && of === picture;
  await attempt(async () => {
    // Both questions at once: the second finds the regions of the first.
    const named = of.names(prompts, words, mine.signal);
    named.catch(() => {}); // told below, unless segmenting fails as well
    await of.segment(prompts, mine.signal);
    if (current()) draw();
    const found = await named;
    if (!current()) return;
    opinions = found;
    draw();
    announce();
    fetchMasks();
  }, (error) => {
    if (error.code !== "input" || !current() || history.state !== fresh || !history.canUndo) return;
    history.undo(); // the answer was that it cannot be asked: a box outside of the picture, say
    changed();
  });
}

let previewing = null, previewTimer = 0;
function preview(place) {
  clearTimeout(previewTimer);
  previewing?.abort();
  if (!place || stage.tool !== "point" || !picture) {
    if (stage.preview) stage.setPreview(null);
    return;
  }
  previewTimer = setTimeout(async () => {
    const mine = (previewing = new AbortController());
    try {
      const mask = await picture.preview({ points: [place.map(rounded)], inside: [true] }, mine.signal);
      if (!mine.signal.aborted) stage.setPreview(mask);
    } catch { /* a preview that fails is none */ }
  }, PREVIEW_MS);
}

// What is seen

function draw() {
  const regions = picture ? shown() : [];
  why.follow(picture, regions, chosen, session.heads);
  stage.update(regions, chosen);
  panel.update(regions, opinions, {
    chosen, heads: session.heads, least, nothing: NOTHING, choices: session.choices, why: () => why.section(),
  });
  get("no-regions").hidden = regions.length > 0;
  get("region-count").textContent = regions.length || "";
  get("undo").disabled = !history.canUndo;
  get("redo").disabled = !history.canRedo;
  get("save").disabled = get("everything").disabled = !picture;
  get("clear").disabled = get("download").disabled = !regions.length;
  get("canvas").setAttribute("aria-label", picture
    ? `${picture.name}, ${picture.width} by ${picture.height} pixels, ${regions.length} regions`
    : "No picture is open");
}

/** Return what the heads call a region. */
const opinionsOf = (index) => opinions.map((head) => head[index]).filter(Boolean);

function announce() {
  const region = history.state[chosen];
  if (!region) return;
  const { name, probability } = verdict(region, opinionsOf(chosen), least, NOTHING);
  status(`${look(chosen).letter}: ${name}${probability ? `, ${Math.round(probability * 100)} %` : ""}`);
}

function status(text) {
  get("status").textContent = text;
}

let toastTimer = 0;
function say(text) {
  get("toast").textContent = text;
  get("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (get("toast").hidden = true), 6000);
}

let busyCount = 0;
async function busy(text, action) {
  busyCount++;
  get("busy-text").textContent = text;
  get("busy").hidden = false;
  try {
    return await attempt(action);
  } finally {
    get("busy").hidden = --busyCount === 0;
  }
}

/** Do something; say what went wrong, if anything did. */
async function attempt(action, undo = () => {}) {
  try {
    return await action();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    say(error.message);
    undo(error);
    return undefined;
  }
}

// Pictures

let opening = 0;
async function openPicture(name, blob, number) {
  const mine = ++opening;
  await busy("Encoding the picture …", async () => {
    await saving.now(); // before what is saved is read
    const next = new Picture(name, await blob, number);
    await next.open();
    const kept = await (number === null ? api.savedOf(next.id) : api.saved(number));
    if (mine !== opening) return; // another was opened since
    await saving.now(); // what was done meanwhile
    picture = next;
    picture.wasSaved = kept.regions.length > 0 || kept.done;
    picture.done = kept.done ?? false;
    picture.revision = kept.revision;
    kept.regions.forEach((region) => picture.remember(region.prompt, region));
    history.begin(kept.regions.map((region) => ({ prompt: region.prompt, label: region.name })));
    chosen = -1;
    opinions = [];
    get("empty").hidden = true;
    stage.show(picture);
    queue.mark();
    draw();
    status(`${name}, ${picture.width} × ${picture.height}`);
    ask();
  });
}

const openOffered = (number) => openPicture(offered[number].name, fetchBlob(api.pictureAddress(number)), number);
const openFile = (file) => openPicture(file.name || "pasted picture", file, null);

async function fetchBlob(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response.blob();
}

// Saving: after every change of a picture that somebody has corrected or saved before.

function saveSoon() {
  if (picture?.wasSaved || history.state.some((region) => region.label)) saving.soon(picture);
}

/** Return the place of a region that cannot be saved yet: without a mask, or without a name; -1 where there is none. */
function unnamed() {
  return shown().findIndex((region, index) => !region.mask || (!region.label && !opinionsOf(index).length));
}

/** Return the regions with a name, once every one was asked about; where the answer failed, ask again. */
async function regionsToSave() {
  for (const again of [true, false]) {
    for (let waited = null; waited !== answered; await waited) waited = answered;
    const missing = unnamed();
    if (missing < 0) return named();
    if (!again) throw new Error(`Not saved: region ${look(missing).letter} has no name yet; save again once it has.`);
    ask();
  }
  return [];
}

/** Return the regions with a name: somebody's own, or the first head's where it is sure enough. */
function named() {
  return shown().flatMap((region, index) => {
    const { name, none } = verdict(region, opinionsOf(index), least, NOTHING);
    return none ? [] : [{ prompt: region.prompt, name, mask: region.mask, box: region.box }];
  });
}

async function saveAndNext() {
  if (!picture) return;
  await busy("Saving …", async () => {
    const of = picture;
    await saving.save(of, true);
    status(`Saved in ${session.saved_in}`);
    if (of.number === null) return;
    const next = queue.nextOpen();
    if (next !== undefined) await openOffered(next);
  });
}

async function download() {
  await attempt(async () => {
    const body = { prompts: history.state.map((region) => region.prompt), ...(words && { names: words }) };
    const found = await picture.ask((image) => api.results(image, body));
    const link = element("a", {
      href: URL.createObjectURL(new Blob([JSON.stringify(found)], { type: "application/json" })),
      download: `${picture.name.replace(/.*\//, "").replace(/\.\w+$/, "")}.coco.json`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}

// Words

async function useWords(chosenWords) {
  await busy("Reading the words …", async () => {
    for (let left = 1; left > 0;) {
      ({ left } = await api.prepareNames(chosenWords, WORDS_SECONDS));
      const count = chosenWords.length.toLocaleString("en");
      get("busy-text").textContent = `Reading the words: ${(chosenWords.length - left).toLocaleString("en")} of ${count} …`;
    }
    words = chosenWords;
    showWords();
    queue.refresh();
    opinions = []; // they are of other words
    draw();
    if (picture) await ask();
  });
}

function showWords() {
  const now = words ?? session.names;
  get("word-count").textContent = now.length.toLocaleString("en");
  get("word-preview").textContent = now.slice(0, 40).join(", ");
  get("known-words").replaceChildren(...now.slice(0, 2000).map((word) => element("option", { value: word })));
}

// Tools, keys and the rest of the page

function setTool(tool) {
  stage.setTool(tool);
  get("stage").dataset.tool = tool;
  for (const each of get("tools").children) each.setAttribute("aria-pressed", String(each.dataset.tool === tool));
  get("signs").hidden = tool !== "point";
  get("brush-size").hidden = tool !== "brush";
}

function setSign(next) {
  sign = next;
  for (const each of get("signs").children) each.setAttribute("aria-pressed", String(each.dataset.sign === sign));
}

async function findEverything() {
  if (!picture) return;
  await busy("SAM looks for everything …", async () => {
    const prompts = await picture.everything();
    const known = new Set(history.state.map((region) => keyOf(region.prompt)));
    const fresh = prompts.filter((prompt) => !known.has(keyOf(prompt))).map((prompt) => ({ prompt }));
    if (fresh.length) change([...history.state, ...fresh], -1);
    status(`SAM found ${prompts.length} regions`);
  });
}

const undo = () => { history.undo(); changed(); };
const redo = () => { history.redo(); changed(); };
const clear = () => change([], -1);
const removeChosen = () => { if (chosen >= 0) change(history.state.filter((_, at) => at !== chosen), -1); };
const step = (by) => {
  const count = history.state.length;
  if (count) choose(chosen < 0 ? (by > 0 ? 0 : count - 1) : (chosen + by + count) % count);
};

const KEYS = {
  b: () => setTool("box"), p: () => setTool("point"), m: () => setTool("brush"), h: () => setTool("pan"),
  e: findEverything, Delete: removeChosen, Backspace: removeChosen, Escape: () => choose(-1),
  "[": () => step(-1), "]": () => step(1), "+": () => stage.zoom(1.25), "=": () => stage.zoom(1.25),
  "-": () => stage.zoom(0.8), 0: () => stage.fit(), "?": () => get("help-dialog").showModal(),
  ",": () => queue.step(-1), ".": () => queue.step(1),
  w: () => why.toggle(), 1: () => chooseByKey(0), 2: () => chooseByKey(1), 3: () => chooseByKey(2),
};
const chooseByKey = (choice) => {
  const region = history.state[chosen];
  if (region && !region.prompt.mask && session.choices) chooseMask(chosen, region.prompt.choice === choice ? null : choice);
};

function pressed(event) {
  if (event.target.closest("input:not([type=range]), select, textarea, dialog")) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() === "z") event.shiftKey ? redo() : undo();
    else if (event.key.toLowerCase() === "y") redo();
    else if (event.key.toLowerCase() === "s") saveAndNext();
    else return;
    event.preventDefault();
  } else if (event.key === " " && event.target === get("canvas")) {
    stage.space = true;
    event.preventDefault();
  } else if (!event.altKey) KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key]?.();
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme ?? "");
}

function toggleTheme() {
  const now = document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  setTheme(now === "dark" ? "light" : "dark");
}

const imageOf = (items) => [...(items ?? [])].find((each) => each.type.startsWith("image/"));

function listen() {
  const on = (id, action, kind = "click") => get(id).addEventListener(kind, action);
  on("tools", (event) => event.target.closest("button") && setTool(event.target.closest("button").dataset.tool));
  on("signs", (event) => event.target.closest("button") && setSign(event.target.closest("button").dataset.sign));
  get("brush-size").querySelector("input").addEventListener("input", (event) => (stage.brush = Number(event.target.value)));
  on("everything", findEverything);
  on("undo", undo);
  on("redo", redo);
  on("fit", () => stage.fit());
  on("clear", clear);
  on("save", saveAndNext);
  on("download", download);
  on("theme", toggleTheme);
  on("help", () => get("help-dialog").showModal());
  for (const id of ["open", "choose"]) on(id, () => get("file").click());
  on("file", (event) => {
    if (event.target.files[0]) openFile(event.target.files[0]);
    event.target.value = "";
  }, "change");
  document.addEventListener("keydown", pressed);
  document.addEventListener("keyup", (event) => { if (event.key === " ") stage.space = false; });
  document.addEventListener("paste", (event) => {
    const file = imageOf(event.clipboardData.files);
    if (file) openFile(file);
  });
  document.addEventListener("dragover", (event) => { event.preventDefault(); get("stage").classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) get("stage").classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    get("stage").classList.remove("over");
    const file = imageOf(event.dataTransfer.files);
    if (file) openFile(file);
    else say("Drop a picture: a file of JPEG, PNG, WebP or the like.");
  });
  addEventListener("pagehide", () => saving.leave());
}

function showServing() {
  get("serving").textContent = session.heads.map((head) => head.name).join("  ·  ") +
    (session.tiny ? "  ·  tiny models: they know the demo's shapes alone" : "");
  get("scores").textContent = session.heads.map((head) =>
    (session.heads.length > 1 ? `${head.name}: ` : "") + (head.fusion ?? "scores of the head alone") +
    (head.unknown_threshold == null ? "" : `; by itself none of these below a score of ${head.unknown_threshold.toFixed(1)}`)).join("\n");
}

async function begin() {
  setTheme(localStorage.getItem("theme") || null);
  await attempt(async () => {
    const listed = await Promise.all([api.session(), api.pictures()]);
    session = listed[0];
    offered = listed[1].pictures;
    listen();
    setTool("box");
    const dialog = new WordsDialog(session.names, session.learnt, useWords);
    const lesson = new LessonDialog(LEAST_PICTURES, {
      names: () => words, failed: (error) => say(error.message),
      compared: (heads) => { session.heads = heads; showServing(); queue.setHeads(heads); changed(); },
    });
    get("edit-words").addEventListener("click", () => dialog.open(words ?? session.names));
    get("teach").addEventListener("click", () => lesson.open());
    showServing();
    showWords();
    least.begin(session.heads[0]);
    queue.begin(offered, session.heads);
    draw();
    get("empty-offer").textContent = offered.length ? "Or pick one of those offered." : "";
    document.body.dataset.ready = "true";
  });
}

begin();
