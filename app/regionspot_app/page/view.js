// Which part of a picture is seen: CSS pixels = picture pixels · scale + offset.

const MOST = 40;

export class View {
  scale = 1;
  x = 0;
  y = 0;
  fitted = true;

  /** Show all of a picture in a window, with a margin. */
  fit(picture, window) {
    this.least = Math.min((window.width - 24) / picture.width, (window.height - 24) / picture.height, MOST);
    this.scale = this.least;
    this.x = (window.width - picture.width * this.scale) / 2;
    this.y = (window.height - picture.height * this.scale) / 2;
    this.fitted = true;
  }

  /** Zoom by a factor; the place under (x, y) stays. */
  zoom(factor, x, y) {
    const scale = Math.min(Math.max(this.scale * factor, this.least * 0.5), Math.max(MOST, this.least));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
  }

  move(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
  }

  /** Return the picture's place under a place in the window. */
  toPicture(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }
}
