// The list of regions with what each head calls them.

import { look } from "./stage.js";

/** Return an element; strings among the children are text, never HTML. */
export function element(tag, values = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) made.style.setProperty(name, value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((each) => each != null && each !== false));
  return made;
}

const percent = (share) => `${share >= 0.995 && share < 1 ? "99+" : Math.round(share * 100)} %`;

/** Return what a region is called, and how sure that is; `least` is the threshold. */
export function verdict(region, opinions, least, nothing) {
  if (region.label) return { name: region.label, certain: true };
  const best = opinions?.[0]?.names[0];
  if (!best) return { name: "…", none: true };
  const none = least.refuses(opinions[0]);
  const differs = opinions.slice(1).find((each) => each.names[0].name !== best.name)?.names[0].name;
  return { name: none ? nothing : best.name, probability: best.probability, none, differs };
}

export class Panel {
  /**
   * @param on What is told of: `choose(index)`, `remove(index)`, `label(index, text)`, `mask(index, choice)`, `peek(mask)`.
   */
  constructor(list, on) {
    this.list = list;
    this.on = on;
    this.typing = false; // a word that is not finished: nothing is drawn anew under it
  }

  /**
   * @param regions The regions; `opinions` for each head beside them.
   * @param settings `chosen`, `heads`, `least`, `nothing`, `choices`, and `why()`, the chosen region's last element.
   */
  update(regions, opinions, settings) {
    this.late = () => this.update(regions, opinions, settings);
    if (this.typing) return;
    this.late = null;
    const { dataset, selectionStart, selectionEnd } = document.activeElement ?? {}, focus = dataset?.focus;
    this.list.replaceChildren(...regions.map((region, index) => this.card(region, index, opinions, settings)));
    const again = focus && this.list.querySelector(`[data-focus="${CSS.escape(focus)}"]`);
    again?.focus({ preventScroll: true });
    if (again?.type === "text") again.setSelectionRange(selectionStart, selectionEnd);
  }

  /** The word is finished: it is told, and what was to be drawn meanwhile is. */
  typed(index, text) {
    this.typing = false;
    this.on.label(index, text);
  }

  left() {
    this.typing = false;
    this.late?.();
  }

  card(region, index, opinions, settings) {
    const { colour, letter } = look(index), chosen = index === settings.chosen;
    const own = settings.heads.map((_, head) => opinions[head]?.[index]).filter(Boolean);
    const { name, probability, none, certain, differs } = verdict(region, own, settings.least, settings.nothing);
    const head = element("button", {
        type: "button", class: "head", "aria-expanded": String(chosen), "data-focus": `head-${index}`,
        onclick: () => this.on.choose(chosen ? -1 : index),
      },
      element("span", { class: "badge" }, letter),
      element("span", { class: `name${none ? " none" : ""}${differs ? " differs" : ""}` }, name,
        differs && element("small", {}, `${settings.heads[1].name}: ${differs}`)),
      element("span", { class: "percent" }, certain ? "yours" : probability == null ? "" : percent(probability)));
    return element("li", { class: `region${chosen ? " chosen" : ""}`, "--colour": colour },
      head, chosen && this.details(region, index, own, settings));
  }

  details(region, index, own, settings) {
    return element("div", { class: "more" },
      element("div", { class: "opinions" }, ...own.map((each, head) =>
        element("div", {},
          element("h3", {}, settings.heads[head].name),
          element("ol", { class: "bars" }, ...each.names.map(({ name, probability }) =>
            element("li", { "--share": `${100 * probability}%` },
              element("span", {}, name), element("span", {}, percent(probability)))))))),
      element("div", { class: "correct" },
        element("label", { for: `label-${index}` }, "It is"),
        element("input", {
          id: `label-${index}`,
          type: "text", value: region.label ?? "", placeholder: "as the head says", list: "known-words",
          "data-focus": `label-${index}`, oninput: () => (this.typing = true), onblur: () => this.left(),
          onchange: (event) => this.typed(index, event.target.value.trim()),
        }),
        element("button", { type: "button", class: "plain", onclick: () => this.on.remove(index) }, "Remove")),
      element("div", { class: "facts" },
        settings.choices && !region.prompt.mask && this.masks(region, index),
        region.predicted_iou != null && element("span", {}, `SAM's estimate ${percent(region.predicted_iou)}`)),
      settings.why());
  }

  masks(region, index) {
    const choice = region.prompt.choice ?? null;
    return element("div", { class: "segments", role: "group", "aria-label": "SAM's masks" },
      ...[null, 0, 1, 2].map((each) => {
        const candidate = each == null ? null : region.candidates?.[each];
        return element("button", {
            type: "button", "aria-pressed": String(choice === each), "data-focus": `mask-${index}-${each}`,
            title: candidate ? `SAM's estimate ${percent(candidate.predicted_iou)}` : "",
            onclick: () => this.on.mask(index, each),
            onpointerenter: () => this.on.peek(candidate?.mask), onpointerleave: () => this.on.peek(null),
          }, each == null ? "Mask" : String(each + 1));
      }));
  }
}
