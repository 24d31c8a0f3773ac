// The tree on the screen: a WAI-ARIA tree view that draws only the rows in sight and asks the node only for those. A search
// or an order by a counter shows a list of agents in its place, with the same rows and keys.

import { $, plural, count } from "./dom.js";
import { call, Problem } from "./api.js";
import { Model, PAGE, OPEN_MAX, observe, keyOf } from "./model.js";
import { makeRow, drawRow } from "./row.js";

/** Browsers lay out no higher element than some 10 million pixels: taller trees scroll in proportion. */
const HEIGHT_MAX = 8_000_000;
/** Rows drawn above and below those in sight. */
const SPARE = 6;
const FLASH_MS = 2200;
/** Restarts remembered for rows that come into sight while they flash. */
const FLASHES_MAX = 500;
/** Requests for parts of the tree at one time. */
const REQUESTS_MAX = 4;
/** Supervisors and workers listed before the agents a search finds. */
const OTHERS_MAX = 50;

export class TreeView {
  model = new Model();
  totals = null;
  #onSelect;
  #view = $("tree");
  #layer = $("rows");
  #rows = new Map();
  #flashes = new Map();
  #list = null;
  #cursor = { key: null, row: 0 };
  #selected = null;
  #page = PAGE;
  #pending = new Set();
  #frame = 0;
  #loading = false;
  #rowHeight = 34;
  #searchTimer;

  constructor(onSelect) {
    this.#onSelect = onSelect;
    this.#view.addEventListener("scroll", () => this.#schedule(true));
    this.#view.addEventListener("keydown", (event) => this.#onKey(event));
    this.#layer.addEventListener("click", (event) => this.#onClick(event));
    new ResizeObserver(() => this.#schedule(true)).observe(this.#view);
    const search = $("search");
    search.addEventListener("input", () => {
      clearTimeout(this.#searchTimer);
      this.#searchTimer = setTimeout(() => this.#changeList(), 120);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") {
        event.preventDefault();
        this.#view.focus();
        if (event.key === "Enter") this.#enter();
      } else if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        if (search.value) this.clearSearch();
        else this.#view.focus();
      }
    });
    $("order").addEventListener("change", () => this.#changeList());
  }

  clearSearch() {
    $("search").value = "";
    this.#changeList();
  }

  /** Another run of the node: nothing known holds any more. */
  reset() {
    this.model.clear();
    this.#flashes.clear();
    this.totals = null;
    if (this.#list) this.#changeList();
    this.draw();
  }

  /** Asks for what is in sight. */
  async refresh() {
    if (!this.model.root) {
      this.#take(await this.#ask("/debug/tree", { depth: 64, limit: OPEN_MAX + 1 }));
    }
    if (this.#list) await Promise.all([this.#refreshList(this.#list), this.#root(0)]);
    else await this.#refreshTree();
    this.draw();
  }

  async #root(depth) {
    this.#take(await this.#ask("/debug/tree", { depth, limit: depth ? "page" : undefined }));
  }

  async #refreshTree() {
    this.model.layout();
    const wanted = this.#wantedPages();
    const next = async () => {
      for (let page = wanted.shift(); page; page = wanted.shift()) await this.#loadPage(page);
    };
    await Promise.all([this.#root(0), ...Array.from({ length: REQUESTS_MAX }, next)]);
  }

  /** The pages of children that have a row in sight. */
  #wantedPages(onlyMissing = false) {
    const pages = new Map();
    for (const { node, parent, index } of this.model.window(...this.#sight())) {
      if (!parent || (onlyMissing && node)) continue;
      const offset = index - (index % this.#page);
      pages.set(`${parent.path} ${offset}`, { parent, offset });
    }
    return [...pages.values()];
  }

  async #loadPage({ parent, offset }) {
    try {
      this.#take(await this.#ask("/debug/tree", { path: parent.path, depth: 1, offset, limit: "page" }));
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== "unknown_path") throw error;
      this.model.forget(parent);
    }
  }

  #take(answer) {
    this.totals = answer.totals;
    const known = this.model.byPath.get(answer.tree.path);
    // A supervisor that was forgotten while its page was on its way comes back with its parent's.
    if (known || answer.tree.path === answer.tree.name) this.model.merge(answer.tree, answer.at_ms, known?.parent || null, known?.index);
  }

  /** A request with a page size the topology allows. */
  async #ask(path, params) {
    const query = () => new URLSearchParams(Object.entries(params)
      .filter(([, value]) => value !== undefined && value !== "")
      .map(([name, value]) => [name, value === "page" ? this.#page : name === "limit" ? Math.min(value, this.#page) : value]));
    try {
      return await call(`${path}?${query()}`);
    } catch (error) {
      if (!(error instanceof Problem) || !Array.isArray(error.range) || error.range[1] >= this.#page) throw error;
      this.#page = Math.max(1, error.range[1]);
      return call(`${path}?${query()}`);
    }
  }

  #changeList() {
    const text = $("search").value.trim();
    const sort = $("order").value;
    // The last list's rows stay in sight until the new ones come.
    this.#list = text || sort ? { text, sort, total: 0, items: new Map(), others: [], loaded: false } : null;
    this.#cursor = { key: this.#selected, row: 0 };
    this.#view.scrollTop = 0;
    this.#view.setAttribute("aria-label", this.#list ? "Agents found" : "Supervision tree");
    this.#retry();
    this.draw();
  }

  async #refreshList(list) {
    list.others = list.text && !list.sort ? this.model.matches(list.text, OTHERS_MAX) : [];
    const [from, to] = this.#sight();
    const first = Math.max(0, from - list.others.length);
    const offset = first - (first % this.#page);
    for (let at = offset; at === offset || at < Math.min(list.total, to - list.others.length); at += this.#page) {
      const answer = await this.#ask("/debug/agents", { contains: list.text, sort: list.sort || "name", offset: at, limit: "page" });
      if (this.#list !== list) return;
      list.total = answer.total;
      const before = new Map([...list.items.values()].map((item) => [item.name, item]));
      // Only the pages in sight are kept.
      if (at === offset) list.items = new Map();
      answer.agents.forEach((view, index) => {
        const item = before.get(view.name) || { key: keyOf("agent", view.name), total: 0, children: new Map() };
        observe(item, { ...view, kind: "agent" }, performance.now());
        list.items.set(at + index, item);
      });
    }
    list.loaded = true;
  }

  #count() {
    return this.#list ? this.#list.others.length + this.#list.total : this.model.layout();
  }

  #window(from, to) {
    const list = this.#list;
    if (!list) return this.model.window(from, to);
    const out = [];
    for (let row = Math.max(0, from); row < Math.min(to, this.#count()); row++) {
      const node = row < list.others.length ? list.others[row] : list.items.get(row - list.others.length);
      out.push({ row, node, index: row });
    }
    return out;
  }

  /** The first and the last row to be drawn. */
  #sight() {
    const rows = this.#count();
    const { top, height } = this.#scroll(rows);
    return [Math.max(0, Math.floor(top / this.#rowHeight) - SPARE), Math.min(rows, Math.ceil((top + height) / this.#rowHeight) + SPARE)];
  }

  /** Where the view stands, in the pixels the whole tree would have. */
  #scroll(rows) {
    const { scrollTop, clientHeight: height } = this.#view;
    const whole = rows * this.#rowHeight;
    const tall = Math.min(whole, HEIGHT_MAX);
    const scale = whole > tall ? (whole - height) / (tall - height) : 1;
    return { top: scrollTop * scale, height, scale, tall };
  }

  #schedule(load = false) {
    this.#loading ||= load;
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.draw();
      if (this.#loading) this.#retry();
      this.#loading = false;
    });
  }

  /** Loads at once what has come into sight; the next round does what fails here. */
  #retry() {
    if (!this.model.root) return;
    if (this.#list) {
      const list = this.#list;
      if (this.#window(...this.#sight()).some(({ node }) => !node) || !list.loaded) {
        this.#refreshList(list).then(() => this.draw(), () => {});
      }
      return;
    }
    for (const page of this.#wantedPages(true)) {
      const id = `${page.parent.path} ${page.offset}`;
      if (this.#pending.has(id) || this.#pending.size >= REQUESTS_MAX) continue;
      this.#pending.add(id);
      this.#loadPage(page).then(() => this.draw(), () => {}).finally(() => {
        this.#pending.delete(id);
        // Opening a supervisor may bring more supervisors into sight.
        this.#schedule(true);
      });
    }
  }

  draw() {
    const height = Number.parseFloat(getComputedStyle(this.#view).getPropertyValue("--row"));
    if (height) this.#rowHeight = height;
    const rows = this.#count();
    this.#settleCursor(rows);
    const { top, scale, tall } = this.#scroll(rows);
    $("spacer").style.height = `${tall}px`;
    const shift = scale === 1 ? 0 : this.#view.scrollTop - top;
    const used = new Set();
    let place = this.#layer.firstElementChild;
    let cursorId = null;
    for (const entry of this.#window(...this.#sight())) {
      const { node, parent, index, row } = entry;
      const key = node ? node.key : `${parent?.path}#${index}`;
      if (used.has(key)) continue;
      used.add(key);
      let drawn = this.#rows.get(key);
      if (!drawn) this.#rows.set(key, drawn = makeRow());
      drawn.entry = entry;
      const active = row === this.#cursor.row;
      if (active) cursorId = drawn.element.id;
      drawRow(drawn, node, {
        level: this.#list ? 1 : node ? node.level : parent.level + 1,
        position: (index ?? 0) + 1,
        total: this.#list ? rows : parent ? parent.total : 1,
        selected: Boolean(node) && node.key === this.#selected,
        active,
        list: Boolean(this.#list),
      });
      drawn.element.style.transform = `translateY(${Math.round(row * this.#rowHeight + shift)}px)`;
      this.#flash(drawn.element, node);
      if (drawn.element === place) place = place.nextElementSibling;
      else this.#layer.insertBefore(drawn.element, place);
    }
    for (const [key, { element }] of this.#rows) {
      if (used.has(key)) continue;
      element.remove();
      this.#rows.delete(key);
    }
    if (cursorId) this.#view.setAttribute("aria-activedescendant", cursorId);
    else this.#view.removeAttribute("aria-activedescendant");
    this.#say(rows);
    this.model.prune((node) => {
      const shown = this.#list ? [] : this.model.window(...this.#sight()).filter((entry) => entry.parent === node);
      return shown.length ? [shown[0].index, shown.at(-1).index] : null;
    });
  }

  #say(rows) {
    const nothing = $("nothing");
    const empty = this.#list ? this.#list.loaded && rows === 0 : !this.model.root;
    nothing.hidden = !empty;
    if (empty) nothing.textContent = this.#list ? `Nothing has “${this.#list.text}” in its name.` : "Waiting for the tree.";
    const totals = this.totals;
    let text = totals ? `${plural(totals.supervisors, "supervisor")}, ${plural(totals.workers, "worker")}` : "";
    if (this.#list) text = this.#list.loaded ? `${count(rows)} found` : "Searching";
    if ($("summary").textContent !== text) $("summary").textContent = text;
  }

  /** Something was restarted: its row flashes, or the row of the closed supervisor that hides it. */
  flash(supervisor, child) {
    const until = performance.now() + FLASH_MS;
    let path = `${supervisor}/${child}`;
    this.#flashes.set(`agent:${child}`, until);
    this.#flashes.set(`path:${path}`, until);
    let parent = this.model.byPath.get(supervisor);
    while (!parent && path.includes("/")) {
      path = path.slice(0, path.lastIndexOf("/"));
      parent = this.model.byPath.get(path);
    }
    for (let hidden = null; parent; parent = parent.parent) {
      if (!parent.open) hidden = parent;
      if (hidden && !parent.parent) this.#flashes.set(hidden.key, until);
    }
    while (this.#flashes.size > FLASHES_MAX) this.#flashes.delete(this.#flashes.keys().next().value);
    this.#schedule();
  }

  #flash(element, node) {
    const until = node && this.#flashes.get(node.key);
    if (until === undefined || element.flashedUntil === until) return;
    if (until < performance.now()) {
      this.#flashes.delete(node.key);
      return;
    }
    element.flashedUntil = until;
    // Off and on again begins the animation anew when one restart follows another.
    element.classList.remove("flash");
    void element.offsetWidth;
    element.classList.add("flash");
    clearTimeout(element.flashTimer);
    element.flashTimer = setTimeout(() => element.classList.remove("flash"), until - performance.now());
  }

  /** Shows what is selected, by whoever selected it. */
  mark(key) {
    this.#selected = key;
    this.#schedule();
  }

  focus() { this.#view.focus(); }

  #settleCursor(rows) {
    const cursor = this.#cursor;
    const node = cursor.node;
    if (node && !this.#list && this.model.byPath.get(node.path) === node) {
      const row = this.model.rowOf(node);
      if (row >= 0) cursor.row = row;
      else this.#toVisible(node);
    }
    cursor.row = Math.max(0, Math.min(cursor.row, rows - 1));
  }

  /** The cursor's node was hidden by a closed supervisor: go there. */
  #toVisible(node) {
    let at = node.parent;
    while (at && this.model.rowOf(at) < 0) at = at.parent;
    this.#cursor = { node: at, row: at ? this.model.rowOf(at) : 0 };
  }

  #moveTo(row) {
    const rows = this.#count();
    const target = Math.max(0, Math.min(row, rows - 1));
    const [entry] = this.#window(target, target + 1);
    this.#cursor = { node: entry?.node, row: target };
    const { top, height, scale } = this.#scroll(rows);
    const y = target * this.#rowHeight;
    if (y < top) this.#view.scrollTop = y / scale;
    else if (y + this.#rowHeight > top + height) this.#view.scrollTop = Math.ceil((y + this.#rowHeight - height) / scale);
    this.draw();
    this.#retry();
  }

  #open(node, open) {
    this.model.toggle(node, open);
    this.draw();
    this.#retry();
  }

  #enter() {
    const [entry] = this.#window(this.#cursor.row, this.#cursor.row + 1);
    if (entry?.node) this.#onSelect(entry.node);
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { row } = this.#cursor;
    const [entry] = this.#window(row, row + 1);
    const node = this.#list ? null : entry?.node;
    const family = node && node.kind === "supervisor" && node.total > 0;
    const page = Math.max(1, Math.floor(this.#view.clientHeight / this.#rowHeight) - 1);
    const moves = {
      ArrowDown: () => this.#moveTo(row + 1),
      ArrowUp: () => this.#moveTo(row - 1),
      PageDown: () => this.#moveTo(row + page),
      PageUp: () => this.#moveTo(row - page),
      Home: () => this.#moveTo(0),
      End: () => this.#moveTo(this.#count() - 1),
      Enter: () => this.#enter(),
      " ": () => this.#enter(),
      ArrowRight: () => {
        if (family && !node.open) this.#open(node, true);
        else if (family) this.#moveTo(row + 1);
      },
      ArrowLeft: () => {
        if (family && node.open) this.#open(node, false);
        else if (entry?.parent && !this.#list) this.#moveTo(this.model.rowOf(entry.parent));
      },
      "*": () => {
        const siblings = node?.parent ? [...node.parent.children.values()] : [];
        for (const sibling of siblings) if (sibling.kind === "supervisor") this.model.toggle(sibling, true);
        this.draw();
        this.#retry();
      },
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  }

  #onClick(event) {
    const element = event.target.closest(".row");
    const drawn = element && [...this.#rows.values()].find((one) => one.element === element);
    if (!drawn) return;
    this.#view.focus({ preventScroll: true });
    this.#cursor = { node: drawn.entry.node, row: drawn.entry.row };
    const { node } = drawn.entry;
    if (!node) return;
    const twisty = event.target.closest(".twisty");
    if (twisty && node.kind === "supervisor" && !this.#list) this.#open(node, !node.open);
    else this.#onSelect(node);
    this.draw();
  }
}
