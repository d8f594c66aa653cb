// The threshold for "none of these": of the head's score where it has one, else of the best name's probability.

const MIDDLE = 50; // the slider's place of the head's own threshold

export class Threshold {
  /**
   * @param slider Its input, from 0, which is off, to 100.
   * @param output Where its value is shown.
   * @param changed Function that is called when somebody moves it.
   */
  constructor(slider, output, changed) {
    this.slider = slider;
    this.output = output;
    this.own = null;
    slider.addEventListener("input", () => {
      this.show();
      changed();
    });
  }

  /** Start at a head's own threshold, or off where it has none. */
  begin(head) {
    this.own = head.unknown_threshold ?? null;
    this.slider.value = this.own === null ? 0 : MIDDLE;
    this.slider.title = this.own === null
      ? "The best name's probability"
      : "The head's score: its largest logit. In the middle it is the head's own threshold";
    this.show();
  }

  /** Return the least score or probability of a region that has one of the names. */
  get value() {
    const place = Number(this.slider.value);
    if (this.own === null) return place / 100;
    if (place === 0) return -Infinity;
    return this.own + ((place - MIDDLE) / MIDDLE) * Math.max(1, Math.abs(this.own));
  }

  show() {
    const place = Number(this.slider.value);
    const text = this.own === null ? `${place} %`
      : place === 0 ? "off" : this.value.toFixed(1);
    this.output.textContent = text;
    this.slider.setAttribute("aria-valuetext", this.own !== null && place === MIDDLE ? `${text}, the head's` : text);
  }

  /** Return whether none of the names fits, by a head's answer about a region. */
  refuses(answer) {
    return (this.own === null ? answer.names[0].probability : answer.known_score) < this.value;
  }
}
