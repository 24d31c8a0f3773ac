// Elements and words. Everything the node says is set as text, never as markup: names and reasons come from outside.

/** Shorthand for an element by its id. */
export const $ = (id) => document.getElementById(id);

/** An element. `props` are attributes; `class`, `text` and `on…` are what they say. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets text only where it differs, so that a quiet page costs no layout. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttr(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (number) => (number === undefined ? "" : whole.format(number));

/** Exact below a million, then with a unit: columns are narrow. */
export const short = (number) => (number < 1e6 ? whole.format(number) : compact.format(number));

export function perSecond(rate) {
  if (rate === undefined || rate === null) return "–";
  if (rate === 0) return "0";
  return rate < 10 ? rate.toFixed(1) : short(Math.round(rate));
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** `5.6 s`, `3m 4s`, `1h 2m`, `2d 3h`: two units are enough. */
export function duration(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${(ms / 1000).toFixed(s < 10 ? 1 : 0)}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${Math.floor((s % 3600) / 60)}m`;
  return `${Math.floor(s / 86400)}d ${Math.floor((s % 86400) / 3600)}h`;
}

/** A span as a person would set it: `10 s`, `1 min`. */
export function span(ms) {
  if (ms % 60000 === 0) return `${count(ms / 60000)} min`;
  return ms % 1000 === 0 ? `${count(ms / 1000)} s` : `${count(ms)} ms`;
}

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const at = number < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(number) / 3));
  return `${(number / 1000 ** at).toFixed(at ? 1 : 0)} ${units[at]}`;
}

export function clock(unixMs) {
  return new Date(unixMs).toLocaleTimeString("en-GB", { hour12: false });
}

/** An exit reason in words, whether the node sent words or their parts. */
export function reasonText(reason) {
  if (typeof reason === "string") return reason;
  if (!reason || typeof reason !== "object") return "";
  const { kind, detail } = reason;
  if (kind === "escalated" && detail) {
    return `gave up: ${detail.intensity} restarts within ${span(detail.period_ms)} exceeded by ${detail.child} (${reasonText(detail.reason)})`;
  }
  const words = String(kind).replaceAll("_", " ");
  return typeof detail === "string" && detail ? `${words}: ${detail}` : words;
}

/** How a status is to be seen. */
export function tone(status) {
  if (status === "running" || status === "ok" || status === "completed") return "good";
  if (status === "starting" || status === "restarting" || status === "stopping" || status === "waiting" || status === "paused") return "busy";
  return status === "failed" || status === "down" ? "bad" : "off";
}

let toastTimer;

/** Says once what came of an action. */
export function say(text, bad = false) {
  const toast = $("toast");
  clearTimeout(toastTimer);
  toast.textContent = text;
  toast.dataset.tone = bad ? "bad" : "good";
  toast.hidden = false;
  toastTimer = setTimeout(() => { toast.hidden = true; }, bad ? 9000 : 4000);
}
