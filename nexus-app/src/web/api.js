// Requests to the node: the token, problem details, and the live stream of events.

const REQUEST_MS = 10_000;
/** The node sends a comment each 15 seconds; a stream silent for longer is dead. */
const SILENCE_MS = 40_000;
/** One event is far shorter; a longer one is no event stream. */
const BLOCK_MAX = 1 << 20;

/** The node could not be reached. */
export class Gone extends Error {}

/** The node refused the token, or wants one. */
export class Unauthorized extends Error {}

/** The node answered with a problem (RFC 9457). */
export class Problem extends Error {
  constructor(status, details) {
    super(details.detail || details.title || `the node answered ${status}`);
    this.status = status;
    this.code = details.code || "";
    this.remedy = details.remedy || "";
    this.range = details.range;
  }

  /** What happened and what to do about it. */
  get whole() {
    return this.remedy ? `${this.message}: ${this.remedy}` : this.message;
  }
}

let token = "";

const stored = {
  get() { try { return sessionStorage.getItem("token") || ""; } catch { return ""; } },
  // Without storage the token lives as long as the page.
  set(value) { try { sessionStorage.setItem("token", value); } catch { /* see above */ } },
};

/** Takes the token from the address's fragment, which browsers send to nobody, and removes it from there. */
export function takeToken() {
  const fragment = new URLSearchParams(location.hash.slice(1)).get("token");
  if (fragment) {
    setToken(fragment);
    history.replaceState(null, "", location.pathname);
  } else {
    token = stored.get();
  }
}

export function setToken(value) {
  token = value.trim();
  stored.set(token);
}

export const hasToken = () => token !== "";

/** A path of names, each safe within an address. */
export const encodePath = (path) => path.split("/").map(encodeURIComponent).join("/");

function headers(more) {
  return token ? { authorization: `Bearer ${token}`, ...more } : { ...more };
}

async function refusal(response) {
  let details = {};
  try { details = await response.json(); } catch { /* not the node's own words: the status has to do */ }
  if (response.status === 401) return new Unauthorized(details.detail || "this node asks for its token");
  return new Problem(response.status, details);
}

/** Sends a request and gives the answer's JSON, or its text. */
export async function call(path, { method = "GET", body, timeout = REQUEST_MS } = {}) {
  let response;
  let text;
  try {
    response = await fetch(path, {
      method,
      headers: headers(body === undefined ? {} : { "content-type": "application/json" }),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeout),
      cache: "no-store",
    });
    if (response.ok) text = await response.text();
  } catch (error) {
    throw new Gone(error.name === "TimeoutError" ? "the node does not answer in time" : "the node cannot be reached");
  }
  if (!response.ok) throw await refusal(response);
  return (response.headers.get("content-type") || "").includes("json") ? JSON.parse(text) : text;
}

/** Reads the event stream after place `since` until it ends; `on` gets each event's name and data. */
export async function stream(since, on, signal) {
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort(), { once: true });
  let silence;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => stop.abort(), SILENCE_MS);
  };
  heard();
  try {
    const response = await fetch("/debug/events", {
      headers: headers({ accept: "text/event-stream", "last-event-id": String(since) }),
      signal: stop.signal,
      cache: "no-store",
    });
    if (!response.ok) throw await refusal(response);
    on("open");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      if (rest.length > BLOCK_MAX) throw new Gone("the event stream makes no sense");
      for (const block of blocks) dispatch(block, on);
    }
  } catch (error) {
    throw error instanceof Problem || error instanceof Unauthorized ? error : new Gone("the event stream broke off");
  } finally {
    clearTimeout(silence);
    stop.abort();
  }
}

function dispatch(block, on) {
  let name = "message";
  let data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data += line.slice(5);
  }
  if (!data) return;
  let parsed;
  try { parsed = JSON.parse(data); } catch { return; }
  on(name, parsed);
}

let control = null;

/** Whether the node lets itself be controlled; `{ allowed, why }`. A path that means nothing tells: the permission is asked first. */
export async function mayControl() {
  if (control) return control;
  try {
    await call("/debug/agents/-/may-i", { method: "POST" });
    control = { allowed: true, why: "" };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const refused = error.status === 403;
    control = { allowed: !refused, why: refused ? error.whole : "" };
  }
  return control;
}

/** Another node may answer at this address now. */
export function forgetControl() { control = null; }
