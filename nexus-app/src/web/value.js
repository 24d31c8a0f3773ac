// An agent's state, any JSON, as a list that opens where it nests. Later states are put into the same elements, so that
// what is open stays open and what has the focus keeps it.

import { h, setText, plural, count } from "./dom.js";

/** Members shown of each object or list. */
const MEMBERS_MAX = 200;
const TEXT_MAX = 2000;

const nested = (value) => value !== null && typeof value === "object";

function words(value) {
  if (typeof value === "number") {
    return Number.isInteger(value) ? count(value) : String(Math.round(value * 1000) / 1000);
  }
  if (typeof value === "string") return value.length > TEXT_MAX ? `${value.slice(0, TEXT_MAX)}…` : value;
  return String(value);
}

const size = (value) => (Array.isArray(value) ? plural(value.length, "item") : plural(Object.keys(value).length, "field"));

/** Shows `value` in `list`, a `<dl>` of members. */
export function showValue(list, value) {
  const members = nested(value) ? Object.entries(value) : [["value", value]];
  const shown = members.slice(0, MEMBERS_MAX);
  const before = new Map([...list.children].map((row) => [row.dataset.key, row]));
  let place = list.firstElementChild;
  for (const [key, member] of shown) {
    const form = nested(member) ? "nest" : "leaf";
    let row = before.get(key);
    if (row && row.dataset.form !== form) row = undefined;
    row ??= form === "nest" ? makeNest(key) : h("div", { "data-key": key, "data-form": "leaf" }, h("dt", { text: key }), h("dd"));
    before.delete(key);
    if (form === "leaf") {
      const text = row.querySelector("dd");
      setText(text, words(member));
      text.dataset.type = member === null ? "null" : typeof member;
    } else {
      row.member = member;
      setText(row.querySelector(".size"), size(member));
      const inner = row.querySelector("details");
      if (inner.open) showValue(inner.querySelector("dl"), member);
    }
    if (row === place) place = place.nextElementSibling;
    else list.insertBefore(row, place);
  }
  for (let row = place; row; row = place) {
    place = row.nextElementSibling;
    row.remove();
  }
  if (members.length > shown.length) {
    list.append(h("div", { class: "muted", "data-key": "", "data-form": "more", text: `… ${count(members.length - shown.length)} more` }));
  }
}

function makeNest(key) {
  const list = h("dl", { class: "value" });
  const inner = h("details", {}, h("summary", {}, h("span", { text: key }), " ", h("span", { class: "size muted" })), list);
  const row = h("div", { "data-key": key, "data-form": "nest" }, inner);
  // What is closed is not built: states may be large.
  inner.addEventListener("toggle", () => (inner.open ? showValue(list, row.member) : list.replaceChildren()));
  return row;
}
