// The report's program: charts by Observable Plot, and tables and gallery of its own.
"use strict";
(() => {
const report = JSON.parse(document.getElementById("data").textContent);
const {runs, classes, gallery} = report;
const two = runs.length > 1, many = runs.length > 2, letters = [..."ABCDEFGH"];
const lines = letters.map((_, index) => `var(--run-${index})`);
const groupColour = {all: "var(--ink)", rare: "var(--line-4)", common: "var(--line-5)", frequent: "var(--line-3)"};
const palette = ["#2f7ed8", "#e8710a", "#8e44ad", "#0f9d8a", "#c2185b", "#7a6a00", "#455a64", "#b71c1c"];
const byId = id => document.getElementById(id);
const known = value => value !== null && value !== undefined;
const percent = (value, digits = 1) => known(value) ? (100 * value).toFixed(digits) : "–";
const signed = value => known(value) ? (value < 0 ? "−" : "+") + (100 * Math.abs(value)).toFixed(1) : "–";
const whole = new Intl.NumberFormat("en").format;
const counted = (count, one, many) => `${whole(count)} ${count === 1 ? one : many}`;

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "rect", "text"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (known(value) && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter(known));
  return made;
}

// A class name that may be broken where LVIS has its underscores.
function breakable(name) {
  const made = document.createDocumentFragment();
  name.split(/(?<=_)/).forEach((part, index) => made.append(...(index ? [element("wbr"), part] : [part])));
  return made;
}

// ---- charts -----------------------------------------------------------------------------------
const drawings = new Map();
const drawn = new ResizeObserver(entries => {
  for (const {target} of entries) draw(target);
});

function draw(place, again = false) {
  const width = Math.floor(place.clientWidth);
  if (!width || (!again && place.dataset.width === String(width))) return;
  place.dataset.width = width;
  const picture = drawings.get(place)(width);
  place.replaceChildren(picture || element("p", {class: "empty"}, "Nothing to measure on."));
}

function chart(place, make) {
  drawings.set(place, make);
  drawn.observe(place);
}

const plot = (label, options) => Plot.plot({
  ariaLabel: label, ...options,
  style: {background: "transparent", color: "var(--soft)", fontSize: "12px", fontFamily: "inherit", overflow: "visible"},
});
const short = (text, letters) => text.length > letters ? text.slice(0, letters - 1) + "…" : text;

// Bars of a group of values, a bar for each run: rows [{group, run, value, title}].
function bars(label, rows, width, {domain, margin = 74, format = percent}) {
  if (!rows.length) return null;
  const groups = [...new Set(rows.map(row => row.group))];
  const most = Math.max(0.05, ...rows.map(row => row.value));
  const least = Math.min(0, ...rows.map(row => row.value));
  return plot(label, {
    width, height: groups.length * (two ? 14 + 16 * runs.length : 34) + 34, marginLeft: margin, marginRight: 44, marginTop: 4,
    x: {domain: domain || [least, most], label: null, tickFormat: value => Math.round(100 * value * 10) / 10, ticks: Math.max(3, Math.min(6, width / 90)), nice: true},
    y: {axis: null, domain: letters.slice(0, runs.length), paddingInner: 0.08, paddingOuter: two ? 0.35 : 0.16},
    fy: {domain: groups, label: null, padding: 0},   // no gap, so that grid lines are whole
    marks: [
      Plot.gridX({stroke: "var(--rule)", strokeOpacity: 1}),
      Plot.barX(rows, {x: "value", y: row => letters[row.run], fy: "group", fill: row => lines[row.run], rx: 2, title: "title", tip: true}),
      Plot.text(rows, {x: row => Math.max(0, row.value), y: row => letters[row.run], fy: "group", text: row => format(row.value), textAnchor: "start", dx: 5, fill: "var(--ink)"}),
      Plot.ruleX([0], {stroke: "var(--soft)"}),
    ],
  });
}

function precisionBars(names) {
  return runs.flatMap((run, index) => Object.entries(names)
    .filter(([key]) => known(run.box[key]))
    .map(([key, group]) => ({group, run: index, value: run.box[key], title: `${two ? letters[index] + " " : ""}${group}: ${percent(run.box[key], 2)}`})));
}

if (report.federated) chart(byId("chart-frequency"), width => bars("AP by frequency of class", precisionBars({AP: "all", APr: "rare", APc: "common", APf: "frequent"}), width, {}));
chart(byId("chart-size"), width => bars("AP by size of region", precisionBars({AP: "all", APs: "small", APm: "medium", APl: "large"}), width, {}));

function curves(label, series, width, height) {
  const points = series.flatMap(({name, colour, dash, values}) => values.map((precision, index) =>
    ({name, colour, dash, recall: index / (values.length - 1), precision})));
  const line = (dash) => Plot.line(points.filter(point => !!point.dash === dash), {x: "recall", y: "precision", z: "name", stroke: "colour", strokeWidth: 2, strokeDasharray: dash ? "5 3" : null});
  return plot(label, {
    width, height, marginLeft: 36, marginRight: 12, marginBottom: 34,
    x: {domain: [0, 1], label: "recall", labelArrow: "none", labelAnchor: "center", tickFormat: value => Math.round(100 * value), ticks: 6},
    y: {domain: [0, 1], label: "precision", labelArrow: "none", tickFormat: value => Math.round(100 * value), ticks: 5},
    marks: [
      Plot.gridY({stroke: "var(--rule)", strokeOpacity: 1}), line(false), line(true),
      Plot.ruleY([0], {stroke: "var(--soft)"}),
      Plot.tip(points, Plot.pointer({x: "recall", y: "precision", title: point => `${point.name}\nrecall ${percent(point.recall, 0)}, precision ${percent(point.precision)}`})),
    ],
  });
}

chart(byId("chart-curve"), width => {
  const series = runs.flatMap((run, index) => Object.entries(run.curves[byId("curve").value]).filter(([group]) => !many || group === "all").map(([group, values]) => ({
    name: two ? `${letters[index]} ${group}` : group, colour: many ? lines[index] : groupColour[group], dash: index === 1 && !many, values})));
  byId("names-curve").replaceChildren(...series.map(({name, colour, dash}) =>
    element("li", {style: `--colour: ${colour}; --dash: ${dash ? "dashed" : "solid"}`}, name)));
  return curves("Precision over recall", series, width, Math.min(320, Math.max(230, width * 0.62)));
});
byId("curve").addEventListener("change", () => draw(byId("chart-curve"), true));

chart(byId("chart-calibration"), width => {
  const rows = runs.flatMap((run, index) => run.calibration.bins.map(bin => ({...bin, run: index})));
  if (!rows.length) return null;
  const title = row => `${two ? letters[row.run] + ": " : ""}score ${row.low.toFixed(1)}–${row.high.toFixed(1)}\n${percent(row.right)} right, mean score ${percent(row.mean_score)}\n${whole(row.count)} detections`;
  return plot("Share right by score", {
    width, height: Math.min(290, Math.max(210, width * 0.52)), marginLeft: 44, marginRight: 12, marginBottom: 20,
    x: {domain: [0, 1], label: null, tickFormat: value => Math.round(100 * value), ticks: 6},
    y: {domain: [0, 1], label: "right", labelArrow: "none", tickFormat: value => Math.round(100 * value), ticks: 5},
    marks: [
      Plot.gridY({stroke: "var(--rule)", strokeOpacity: 1}),
      two ? null : Plot.rect(rows, {x1: "low", x2: "high", y1: 0, y2: "right", fill: lines[0], fillOpacity: 0.22, insetLeft: 1, insetRight: 1}),
      Plot.line([[0, 0], [1, 1]], {stroke: "var(--soft)", strokeDasharray: "4 4"}),
      Plot.line(rows, {x: "mean_score", y: "right", z: "run", stroke: row => lines[row.run], strokeWidth: 2}),
      Plot.dot(rows, {x: "mean_score", y: "right", r: 4, fill: row => lines[row.run], title, tip: true}),
    ],
  });
});

chart(byId("chart-counts"), width => {
  const rows = runs.flatMap((run, index) => run.calibration.bins.map(bin => ({...bin, run: index})));
  const part = 1 / runs.length;
  return rows.length ? plot("Detections by score", {
    width, height: 96, marginLeft: 44, marginRight: 12, marginTop: 16, marginBottom: 32,
    x: {domain: [0, 1], label: "score", labelArrow: "none", labelAnchor: "center", tickFormat: value => Math.round(100 * value), ticks: 6},
    y: {type: "log", domain: [0.8, Math.max(10, ...rows.map(row => row.count))], label: "detections", labelArrow: "none", ticks: 2, tickFormat: "~s"},
    marks: [Plot.rect(rows, {
      x1: row => row.low + (row.high - row.low) * part * row.run, x2: row => row.low + (row.high - row.low) * part * (row.run + 1),
      y1: 0.8, y2: "count", fill: row => lines[row.run], insetLeft: 1, insetRight: 1, title: row => `${whole(row.count)} detections`, tip: true})],
  }) : null;
});

const tideWords = {
  Cls: ["wrong name", "on an annotated box of another class"],
  Loc: ["wrong place", "right class, IoU only 0.1 to 0.5"],
  Both: ["both", "another class, and IoU only 0.1 to 0.5"],
  Dupe: ["duplicate", "a better scored detection has the box"],
  Bkg: ["background", "no annotated box there"],
  Miss: ["missed", "boxes with none of the above near"],
};
chart(byId("chart-tide"), width => bars("AP50 that mending errors would gain", runs.flatMap((run, index) =>
  Object.entries(tideWords).map(([key, [group]]) => ({group, run: index, value: run.tide.delta_ap50[key], title: `${group}: ${signed(run.tide.delta_ap50[key])} AP50, ${whole(run.tide.counts[key])} of them`}))), width, {margin: 92, format: signed}));
byId("tide-terms").append(...Object.entries(tideWords).flatMap(([key, [name, words]]) => [
  element("dt", {}, name), element("dd", {}, words),
  element("dd", {class: "count"}, runs.map(run => whole(run.tide.counts[key])).join(" · "))]));

// ---- from a class or a confusion to its pictures ----------------------------------------------
// `said` is a class, -1 where no detection is near, "another" for any wrong name that is not among
// `others`, or undefined for the class alone.
let filter = null;
function holds(picture, {true: wanted, said, run, others}) {
  return picture.classes.some((name, index) => {
    const called = picture.called[run][index];
    return name === wanted && (said === undefined || (said === "another" ? called >= 0 && !others.includes(called) : called === said));
  });
}
const picturesOf = asked => Object.keys(gallery.pictures).filter(key => holds(gallery.pictures[key], asked));
const pictured = (name, said, run, others) => picturesOf({true: name, said, run, others}).length > 0;
const opener = (words, onclick) => element("button", {class: "opener", title: "Show its pictures", onclick}, words);
function openPictures(name, said, run, others) {
  filter = {true: name, said, run, others};
  if (!picturesOf(filter).length) return;
  showGallery();
  byId("pictures").scrollIntoView();
}

// ---- confusions -------------------------------------------------------------------------------
let matrixRun = 0, pairsRun = 0;
chart(byId("chart-matrix"), width => {
  const {classes: chosen, counts} = runs[matrixRun].matrix;
  if (!chosen.length) return element("p", {class: "empty"}, "No class was taken for another.");
  const room = width < 460 ? 16 : 26, name = key => typeof key === "string" ? key : short(classes[key].name, room);
  const columns = [...chosen, "another", "missed"];
  const cells = counts.flatMap((row, r) => {
    const sum = row.reduce((a, b) => a + b, 0);
    return row.map((count, c) => ({true: chosen[r], said: columns[c], count, share: count / sum, right: r === c,
      title: `${classes[chosen[r]].name} → ${c < chosen.length ? classes[chosen[c]].name : columns[c]}\n${whole(count)} of ${whole(sum)} boxes`}));
  }).filter(cell => cell.count);
  const margin = Math.min(170, 12 + 6.4 * Math.max(...columns.map(key => name(key).length)));
  const size = width < 460 ? 9 : 11, digits = (width - margin - 4) / columns.length / (0.62 * size);
  const brief = count => count < 1000 ? String(count) : d3.format(count < 9950 ? ".1~s" : ".0~s")(count);
  const fits = cells.every(cell => brief(cell.count).length <= digits);   // all numbers or none
  return plot("Confusion matrix of the most confused classes", {
    width, height: 24 * chosen.length + margin * 0.78 + 16, marginLeft: margin, marginRight: 4, marginTop: 4, marginBottom: margin * 0.78 + 12, padding: 0.04,
    x: {domain: columns, label: null, tickRotate: -50, tickSize: 0, tickFormat: name},
    y: {domain: chosen, label: null, tickSize: 0, tickFormat: name},
    marks: [
      Plot.frame({stroke: "var(--rule)"}),
      Plot.cell(cells, {x: "said", y: "true", fill: cell => cell.right ? "var(--line-3)" : "var(--line-2)", fillOpacity: cell => 0.12 + 0.5 * cell.share, title: "title", tip: true}),
      fits ? Plot.text(cells, {x: "said", y: "true", text: cell => brief(cell.count), fill: "var(--ink)", fontSize: size}) : null,
    ],
    opacity: {type: "identity"},
  });
});
byId("chart-matrix").addEventListener("click", () => {
  const cell = byId("chart-matrix").querySelector("svg")?.value;   // the one below the pointer
  if (!cell) return;
  const chosen = runs[matrixRun].matrix.classes;
  openPictures(cell.true, cell.said === "missed" ? -1 : cell.said, matrixRun, chosen);
});

function listPairs() {
  const list = runs[pairsRun].confusions.slice(0, 100);
  byId("pairs").tBodies[0].replaceChildren(...list.map(pair => element("tr", {},
    element("td", {}, breakable(classes[pair.true].name)), element("td", {}, pictured(pair.true, pair.said, pairsRun) ? opener(breakable(classes[pair.said].name), () => openPictures(pair.true, pair.said, pairsRun)) : breakable(classes[pair.said].name)),
    element("td", {class: "number"}, whole(pair.count)), element("td", {class: "number wide"}, whole(pair.of)),
    element("td", {class: "number wide"}, percent(pair.score, 0)))));
  if (!list.length) byId("pairs").tBodies[0].append(element("tr", {}, element("td", {colspan: 5}, "None.")));
}
function press(buttons, chosen) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
}
for (const [kind, choose] of [["matrix", run => { matrixRun = run; draw(byId("chart-matrix"), true); }], ["pairs", run => { pairsRun = run; listPairs(); }]]) {
  const buttons = [...document.querySelectorAll(`[data-${kind}]`)];
  for (const button of buttons) button.addEventListener("click", () => { press(buttons, button); choose(Number(button.dataset[kind])); });
}

listPairs();

// ---- classes ----------------------------------------------------------------------------------
const measured = classes.filter(each => each.runs);
const PAGE = 40;
const of = (run, figure) => each => each.runs[run][figure];
const difference = run => each => known(each.runs[0].ap) && known(each.runs[run].ap) ? each.runs[run].ap - each.runs[0].ap : null;
const columns = [
  {name: "class", value: each => each.name, text: true},
  ...(report.federated ? [{name: "frequency", value: each => ({rare: 0, common: 1, frequent: 2})[each.frequency] ?? null, show: each => each.frequency || "–", wide: true}] : []),
  {name: "images", value: each => each.images, show: each => whole(each.images), number: true, wide: true},
  {name: "boxes", value: each => each.regions, show: each => whole(each.regions), number: true, wide: two},
  ...runs.flatMap((run, index) => [
    {name: two ? `AP ${letters[index]}` : "AP", value: of(index, "ap"), number: true, bar: index},
    ...(!two && classes.some(each => each.runs && known(each.runs[index].mask_ap)) ? [{name: "mask AP", value: of(index, "mask_ap"), number: true, wide: true}] : []),
    ...(many ? [] : [{name: two ? `right ${letters[index]}` : "named right", value: of(index, "right"), number: true, wide: two}]),
  ]),
  ...(two ? runs.slice(1).map((_, index) => ({name: `${letters[index + 1]} − A`, value: difference(index + 1), show: each => signed(difference(index + 1)(each)), number: true, signed: true, wide: index > 0})) : [{name: "AP50", value: of(0, "ap50"), number: true, wide: true}]),
];
let sorted = {column: columns.findIndex(each => each.name === (two ? "B − A" : "AP")), down: false}, all = false;

function shownClasses() {
  const words = byId("search").value.toLowerCase().split(/[\s_]+/).filter(Boolean), frequency = byId("frequency").value;
  const {value, text} = columns[sorted.column], sign = sorted.down ? -1 : 1;
  return measured
    .filter(each => (!frequency || each.frequency === frequency) && words.every(word => each.name.toLowerCase().includes(word)))
    .sort((a, b) => {
      const x = value(a), y = value(b);
      if (!known(x) || !known(y)) return known(x) ? -1 : known(y) ? 1 : 0;   // what is not known comes last
      return sign * (text ? x.localeCompare(y) : x - y) || b.regions - a.regions || a.name.localeCompare(b.name);
    });
}

function classRow(each) {
  const cells = columns.map((column, index) => {
    const kind = [column.number && "number", column.wide && "wide", index === 0 && "name", known(column.bar) && "bar-cell"].filter(Boolean).join(" ");
    const value = column.value(each), shown = column.show ? column.show(each) : column.text ? value : percent(value);
    if (index === 0) return element("td", {class: kind}, element("button", {"aria-expanded": "false"}, breakable(shown)));
    const tone = column.signed && known(value) ? (value > 0.0005 ? "up" : value < -0.0005 ? "down" : "same") : null;
    return element("td", {class: kind, style: known(column.bar) ? `--share: ${value || 0}; --colour: ${lines[column.bar]}` : null},
      tone ? element("span", {class: tone}, shown) : shown);
  });
  const row = element("tr", {class: "row", onclick: () => toggle(row, each)}, ...cells);
  return row;
}

function toggle(row, each) {
  const button = row.querySelector("button"), open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  if (open) return row.nextSibling.remove();
  const place = element("div", {class: "chart"});
  const facts = runs.map((run, index) => {
    const figures = each.runs[index], others = figures.others.map(([said, count]) => `${classes[said].name} (${whole(count)})`);
    return element("div", {}, two ? element("h4", {}, `${letters[index]} ${run.name}`) : null,
      element("p", {}, `AP ${percent(figures.ap)}, AP50 ${percent(figures.ap50)}${known(figures.mask_ap) ? `, mask AP ${percent(figures.mask_ap)}` : ""}; ${percent(figures.right, 0)} % of ${counted(each.regions, "box", "boxes")} in ${counted(each.images, "image", "images")} named right.`),
      element("p", {}, others.length ? `Also called: ${others.join(", ")}.` : "Never taken for another class."));
  });
  if (pictured(each.index, undefined, 0)) facts.push(element("p", {}, opener(`Show its ${counted(picturesOf({true: each.index, run: 0}).length, "picture", "pictures")}`, () => openPictures(each.index, undefined, 0))));
  row.after(element("tr", {class: "detail"}, element("td", {colspan: columns.length}, element("div", {class: "inner"},
    element("div", {}, element("h4", {}, "Precision over recall, IoU 0.50"), place), element("div", {}, ...facts)))));
  chart(place, width => curves(`Precision over recall of ${each.name}`, runs.map((run, index) => ({name: two ? letters[index] : each.name, colour: lines[index], values: each.runs[index].curve})), width, 190));
}

function listClasses() {
  const found = shownClasses(), shown = all ? found : found.slice(0, PAGE), table = byId("class-table");
  table.tHead.rows[0].replaceChildren(...columns.map((column, index) => element("th", {
    scope: "col", class: [column.number && "number", column.wide && "wide"].filter(Boolean).join(" "),
    "aria-sort": index === sorted.column ? (sorted.down ? "descending" : "ascending") : null,
  }, element("button", {onclick: () => {
    sorted = {column: index, down: sorted.column === index ? !sorted.down : !!column.number};
    listClasses();
    byId("class-table").tHead.rows[0].cells[index].firstChild.focus();
  }}, column.name))));
  table.tBodies[0].replaceChildren(...shown.map(classRow));
  byId("found").textContent = found.length === measured.length ? `${whole(found.length)} classes` : `${whole(found.length)} of ${whole(measured.length)} classes`;
  byId("more").parentElement.hidden = shown.length === found.length;
  byId("more").parentElement.style.display = shown.length === found.length ? "none" : "";
  byId("more").textContent = `Show all ${whole(found.length)}`;
}
byId("search").addEventListener("input", () => { all = false; listClasses(); });
byId("frequency").addEventListener("change", () => { all = false; listClasses(); });
byId("more").addEventListener("click", () => { all = true; listClasses(); });
if (!classes.some(each => each.frequency)) byId("frequency").hidden = true;
listClasses();

// ---- pictures ---------------------------------------------------------------------------------
if (!gallery.parts.length) return;
const said = runs.map((run, index) => ({run: index}));
const layers = [
  {name: two ? `${letters.slice(0, runs.length - 1).join(", ")} and ${letters[runs.length - 1]}` : "said", scenes: said},
  ...(two ? said.map(scene => ({name: `${letters[scene.run]} says`, scenes: [scene]})) : []),
  {name: "true", scenes: [{}]}, {name: "picture only", scenes: [{none: true}]},
];
let part = gallery.parts.find(each => each.images.length) || gallery.parts[0], layer = layers[0];

const regionsOf = (picture, what) => what.none ? [] : known(what.run) ? picture.said[what.run] : picture.true;
const className = index => index < 0 ? "nothing annotated" : classes[index].name;

function outline(points) {
  let path = "";
  for (let i = 0; i < points.length; i += 2) path += `${i ? "L" : "M"}${points[i]} ${points[i + 1]}`;
  return path + "Z";
}

function overlay(picture, what, width, named) {
  const unit = picture.width / width, letter = 12 * unit, masks = byId("masks")?.checked;
  const svg = element("svg", {viewBox: `0 0 ${picture.width} ${picture.height}`, "aria-hidden": "true"});
  regionsOf(picture, what).forEach((region, index) => {
    const colour = palette[index % palette.length], [x1, y1, x2, y2] = region.box;
    const word = named ? `${index + 1} ${className(region.class)}` : String(index + 1);
    const wide = (named ? 0.56 * word.length + 0.5 : 0.62 * word.length + 0.6) * letter, high = 1.3 * letter;
    const x = Math.max(0, Math.min(x1, picture.width - wide)), y = named && y1 >= high ? y1 - high : Math.max(0, Math.min(y1, picture.height - high));
    const tag = element("text", {x: x + wide / 2, y: y + letter, fill: "#fff", "font-size": letter, "font-weight": 600, "text-anchor": "middle", "font-family": "inherit"}, word);
    if (named) { tag.setAttribute("textLength", wide - 0.5 * letter); tag.setAttribute("lengthAdjust", "spacingAndGlyphs"); }
    // An outline, white below: a tint would change the colours that names are often about.
    const path = region.mask.map(outline).join("");
    const line = (stroke, width) => element("path", {d: path, fill: "none", stroke, "stroke-width": width, "vector-effect": "non-scaling-stroke"});
    svg.append(element("g", {},
      ...(masks && region.mask.length ? [line("#fff", 4), line(colour, 2)] : []),
      element("rect", {x: x1, y: y1, width: x2 - x1, height: y2 - y1, fill: "none", stroke: colour, "stroke-width": 1, "vector-effect": "non-scaling-stroke"}),
      element("rect", {x, y, width: wide, height: high, fill: colour}), tag));
  });
  return svg;
}

// One drawing of a picture and the list of its regions: `what` is a run's, or what is true.
function scene(key, what, large) {
  const picture = gallery.pictures[key], ratio = picture.width / picture.height, judged = known(what.run);
  const width = large ? Math.min(960, innerWidth * 0.9, innerHeight * 0.72 * ratio) : Math.min(280, 280 * ratio);
  const frame = element("div", {class: "frame", style: `aspect-ratio: ${picture.width} / ${picture.height}; max-width: ${large ? Math.round(width) + "px" : `calc(20rem * ${ratio})`}`},
    element("img", {src: `data:image/jpeg;base64,${picture.jpeg}`, alt: picture.file, width: picture.width, height: picture.height, decoding: "async"}), overlay(picture, what, width, large));
  const list = element("ul", {class: "said"}, ...regionsOf(picture, what).map((region, index) => {
    const right = judged && region.true === region.class;
    const words = element("span", {class: "words"}, element("span", {class: judged ? (right ? "right" : "wrong") : ""}, breakable(className(region.class))),
      ...(judged && !right ? [" (", breakable(className(region.true)), ")"] : []));
    const light = on => () => { const svg = frame.querySelector("svg"); svg.classList.toggle("lit", on); svg.children[index].classList.toggle("on", on); };
    return element("li", {onmouseenter: light(true), onmouseleave: light(false)},
      element("span", {class: "letter", style: `--colour: ${palette[index % palette.length]}`}, String(index + 1)), words,
      known(region.score) ? element("span", {class: "score"}, percent(region.score, 0)) : null);
  }));
  if (!list.children.length && !what.none) list.append(element("li", {}, judged ? "no detection" : "nothing annotated"));
  const [right, number] = picture.right;
  const count = judged ? `${right[what.run]} of ${number} right` : `${number} annotated`;
  return element("div", {class: "half"},
    element("button", {class: "scene", "aria-label": `Enlarge ${picture.file}`, onclick: large ? () => {} : () => enlarge(key)}, frame),
    element("div", {class: "told"}, element("div", {class: "file"},
      two && judged ? element("i", {class: `run run-${what.run}`}, letters[what.run]) : null,
      element("span", {class: "name", title: picture.file}, picture.file), element("span", {}, count)), list));
}

function card(key, large = false) {
  return element("figure", {class: `card picture scenes-${layer.scenes.length}`}, ...layer.scenes.map(what => scene(key, what, large)));
}

function enlarge(key) {
  byId("large").querySelector("div").replaceChildren(card(key, true));
  byId("large").showModal();
}
byId("close").addEventListener("click", () => byId("large").close());
byId("large").addEventListener("click", event => { if (event.target === byId("large")) byId("large").close(); });

function showGallery() {
  const keys = filter ? picturesOf(filter) : part.images;
  byId("gallery").replaceChildren(...keys.map(key => card(key)));
  if (!filter) {
    byId("part-note").textContent = keys.length ? `${part.name}: ${part.note}.` : `${part.name}: none.`;
    return;
  }
  const {true: name, said, run} = filter, word = said === undefined ? "" : said === "another" ? " called by another name" : said < 0 ? " missed" : said === name ? " named right" : ` called ${classes[said].name}`;
  for (const button of byId("parts").children) button.setAttribute("aria-pressed", "false");
  byId("part-note").replaceChildren(`${classes[name].name}${word}${two && said !== undefined ? ` by ${letters[run]}` : ""}: ${counted(keys.length, "picture", "pictures")} of this page. `, opener("Back to the gallery", () => { filter = null; press([...byId("parts").children], [...byId("parts").children][gallery.parts.indexOf(part)]); showGallery(); }));
}
function choices(place, options, get, set) {
  const buttons = options.map(option => element("button", {"aria-pressed": String(option === get()), onclick: event => { set(option); press(buttons, event.currentTarget); if (place === "parts") filter = null; showGallery(); }}, option.name));
  byId(place).append(...buttons);
}
choices("parts", gallery.parts, () => part, option => { part = option; });
choices("layers", layers, () => layer, option => { layer = option; });
byId("masks")?.addEventListener("change", showGallery);
showGallery();
})();
