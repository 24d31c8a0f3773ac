// One row of the tree: made once, then only its differences are set.

import { h, setAttr, setText, duration, perSecond, short, count, tone, plural } from "./dom.js";

let serial = 0;

export function makeRow() {
  const part = {};
  const cell = (name) => (part[name] = h("span", { class: `c-${name}` }));
  part.twisty = h("span", { class: "twisty", "aria-hidden": "true" });
  part.dot = h("span", { class: "dot", "aria-hidden": "true" });
  part.label = h("span", { class: "label" });
  part.note = h("span", { class: "note" });
  part.fill = h("span", { class: "fill" });
  part.depth = h("span", { class: "number" });
  const name = h("span", { class: "c-name" }, part.twisty, part.dot, part.label, part.note);
  const inbox = cell("inbox");
  inbox.append(h("span", { class: "bar" }, part.fill), part.depth);
  const element = h("div", { class: "row", role: "treeitem", id: `row-${++serial}` }, name,
    cell("behavior"), cell("status"), inbox, cell("processed"), cell("rate"), cell("restarts"), cell("uptime"), cell("exit"));
  return { element, part };
}

/** Of a thousand messages the bar is full; the scale is logarithmic, so that one waiting message shows and ten more do. */
const fullness = (queued) => Math.min(1, Math.log10(1 + queued) / 3);

/** Shows `node`, or that it is still to come, in `row`. */
export function drawRow({ element, part }, node, { level, position, total, selected, active, list }) {
  setAttr(element, "aria-level", level);
  setAttr(element, "aria-posinset", position);
  setAttr(element, "aria-setsize", total);
  setAttr(element, "aria-selected", selected);
  element.classList.toggle("active", active);
  element.classList.toggle("pending", !node);
  element.style.setProperty("--level", level - 1);
  if (!node) {
    for (const name of ["label", "note", "behavior", "status", "depth", "processed", "rate", "restarts", "uptime", "exit"]) setText(part[name], "");
    setAttr(element, "aria-label", "loading");
    setAttr(element, "aria-expanded", null);
    setText(part.twisty, "");
    part.fill.style.width = "0";
    part.dot.dataset.tone = "none";
    return;
  }
  const family = node.kind === "supervisor" && !list;
  setAttr(element, "aria-expanded", family && node.total > 0 ? node.open : null);
  element.dataset.kind = node.kind;
  setText(part.twisty, family && node.total > 0 ? (node.open ? "▾" : "▸") : "");
  part.dot.dataset.tone = tone(node.status);
  setText(part.label, node.name);
  part.label.title = node.path || node.name;
  setText(part.note, family && node.total > 0 ? short(node.total) : list && node.kind !== "agent" ? node.kind : "");
  setText(part.behavior, node.behavior.replaceAll("_", " "));
  setText(part.status, node.status);
  part.status.dataset.tone = tone(node.status);
  const talks = node.queued !== undefined;
  part.fill.parentElement.hidden = !talks;
  part.fill.style.width = talks ? `${100 * fullness(node.queued)}%` : "0";
  setText(part.depth, talks ? short(node.queued) : "");
  setText(part.processed, node.processed === undefined ? "" : short(node.processed));
  setText(part.rate, talks ? perSecond(node.rate) : "");
  part.rate.classList.toggle("idle", !node.rate);
  setText(part.restarts, node.restarts ? short(node.restarts) : "0");
  part.restarts.classList.toggle("idle", !node.restarts);
  setText(part.uptime, node.uptime ? duration(node.uptime) : "–");
  setText(part.exit, node.exit || "");
  part.exit.title = node.exit || "";
  setAttr(element, "aria-label", describe(node));
}

function describe(node) {
  const words = [node.name, `${node.kind} ${node.behavior.replaceAll("_", " ")}`, node.status];
  if (node.total) words.push(plural(node.total, "child", "children"));
  if (node.restarts) words.push(plural(node.restarts, "restart"));
  if (node.queued !== undefined) words.push(`${count(node.queued)} queued`, `${count(node.processed)} processed`);
  if (node.exit) words.push(`last exit ${node.exit}`);
  return words.join(", ");
}
