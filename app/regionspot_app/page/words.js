// The words that regions are named with.

/** COCO's classes (Lin et al. 2014, arXiv 1405.0312), in the order of its 2017 annotations. */
export const COCO = `person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,
frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,
cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,
bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,
vase,scissors,teddy bear,hair drier,toothbrush`;

/** Return the words in a text, one a line or with commas between, each once. */
export const parse = (text) => [...new Set(text.split(/[\n,]/).map((word) => word.trim()).filter(Boolean))];

export class WordsDialog {
  /**
   * @param own The app's own words.
   * @param learnt Names of the classes that the head learnt, the most frequent first.
   * @param use Function that is called with words that were chosen.
   */
  constructor(own, learnt, use) {
    this.own = own;
    this.dialog = document.getElementById("words-dialog");
    this.text = document.getElementById("words-text");
    const file = document.getElementById("words-file-input");
    document.getElementById("words-own").addEventListener("click", () => this.fill(this.own));
    const preset = document.getElementById("words-learnt");
    preset.hidden = !learnt.length;
    preset.textContent = `The head's ${learnt.length.toLocaleString("en")}`;
    preset.addEventListener("click", () => this.fill(learnt));
    document.getElementById("words-coco").addEventListener("click", () => this.fill(parse(COCO)));
    document.getElementById("words-file").addEventListener("click", () => file.click());
    file.addEventListener("change", async () => {
      if (file.files[0]) this.fill(parse(await file.files[0].text()));
      file.value = "";
    });
    this.dialog.addEventListener("close", () => {
      const words = parse(this.text.value);
      if (this.dialog.returnValue === "use" && words.length) use(words);
    });
  }

  fill(words) {
    this.text.value = words.join("\n");
  }

  open(words) {
    this.fill(words);
    this.dialog.returnValue = "";
    this.dialog.showModal();
    this.text.focus();
  }
}
