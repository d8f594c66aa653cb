// The HTTP API of the app; the page /api describes it.

const TAB = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2);

/** A refusal: `code` for programs, `message` for people. */
export class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function answer(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { "X-RegionSpot-Tab": TAB, ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "offline", "The app does not answer. Does it still run in its terminal?");
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    const { code = "http", message = `The app answered ${response.status}.` } = body.error ?? {};
    throw new Refusal(response.status, code, message);
  }
  return response.json();
}

function post(path, body = {}, signal = undefined, options = {}) {
  return answer(path, {
    method: "POST", body: JSON.stringify(body), signal, headers: { "Content-Type": "application/json" }, ...options,
  });
}

export const session = () => answer("api/session");
export const pictures = () => answer("api/pictures");
export const pictureAddress = (number) => `api/pictures/${number}`;
export const saved = (number) => answer(`api/pictures/${number}/saved`);
export const encodeOffered = (number) => post(`api/pictures/${number}/encode`);
export const encodeFile = (blob) =>
  answer("api/images", { method: "POST", body: blob, headers: { "Content-Type": "application/octet-stream" } });
export const regions = (image, body, signal) => post(`api/images/${image}/regions`, body, signal);
export const names = (image, body, signal) => post(`api/images/${image}/names`, body, signal);
export const why = (image, body, signal) => post(`api/images/${image}/why`, body, signal);
export const everything = (image) => post(`api/images/${image}/everything`);
export const results = (image, body) => post(`api/images/${image}/results`, body);
export const prepareNames = (names, seconds) => post("api/vocabulary", { names, seconds });
export const queue = (body) => post("api/queue", body);
export const beginLook = (body) => post("api/look", body);
export const look = () => answer("api/look");
export const stopLook = () => post("api/look/stop");
export const savedOf = (image) => answer(`api/images/${image}/saved`);
export const save = (body, options) => post("api/save", body, undefined, options);
export const teach = (body) => post("api/teach", body);
export const lesson = () => answer("api/teach");
export const stopLesson = () => post("api/teach/stop");
export const compare = () => post("api/compare");
