// Keeping what somebody does: a change stays unsaved until the server has it.

import * as api from "./api.js";

const SOON_MS = 500;
const MOST_KEPT_ALIVE = 60_000; // browsers send no more for a page that is gone
const REFUSED = [400, 409, 413]; // what is wrong with it, or changed elsewhere since

export class Saving {
  /**
   * @param on Asked for: `regions()`, which waits for the open picture's names, and `present()`, which has them or null
   *   at once; told of: `saved(picture)` and `failed(error)`.
   */
  constructor(on) {
    this.on = on;
    this.unsaved = null; // the picture with changes that the server has not
    this.changes = 0;
    this.last = Promise.resolve();
  }

  /** Save a picture soon; another change puts it off. */
  soon(picture) {
    this.unsaved = picture;
    this.changes++;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.now().catch(this.on.failed), SOON_MS);
  }

  /** Save what has changed, if anything has; where that fails it stays unsaved. */
  async now() {
    if (this.unsaved) await this.save(this.unsaved, this.unsaved.done);
  }

  /** Save a picture; one after another, since each counts the picture's revision on. */
  save(picture, done) {
    this.last = this.last.catch(() => {}).then(() => this.write(picture, done));
    return this.last;
  }

  async write(picture, done) {
    clearTimeout(this.timer);
    const changes = this.changes, regions = await this.on.regions();
    try {
      const { revision } = await picture.ask((image) => api.save(this.body(picture, image, regions, done)));
      Object.assign(picture, { revision, wasSaved: true, done });
    } catch (error) {
      if (REFUSED.includes(error.status)) this.unsaved = null; // it would be refused again: it is told, and one can go on
      throw error;
    }
    if (changes === this.changes) this.unsaved = null;
    this.on.saved(picture);
  }

  /** Save at once and wait for nothing: the page goes. */
  leave() {
    const regions = this.unsaved && this.on.present();
    if (!regions) return;
    const body = this.body(this.unsaved, this.unsaved.id, regions, this.unsaved.done);
    api.save(body, { keepalive: JSON.stringify(body).length < MOST_KEPT_ALIVE }).catch(() => {});
  }

  body(picture, image, regions, done) {
    return { picture: picture.name, image, regions, done, revision: picture.revision };
  }
}
