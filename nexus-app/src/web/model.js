// What the page knows of the tree: only the parts that are or were looked at, by pages of children. Pure data and arithmetic.

/** Children asked for at a time. */
export const PAGE = 50;
/** A supervisor with more children starts closed. */
export const OPEN_MAX = 24;
/** Children of one supervisor that are kept; far away from what is looked at, the rest is forgotten. */
const KEPT_MAX = 400;
/** Supervisors whose opening or closing is remembered. */
const CHOICES_MAX = 2000;

/** Agents are one and the same wherever they are shown; everything else is its place. */
export const keyOf = (kind, name, path) => (kind === "agent" ? `agent:${name}` : `path:${path}`);

/** Shorter looks make a wild rate, longer ones an old one. */
const RATE_MS = [400, 30_000];

/** Takes over what the node tells of an agent or supervisor, and derives the rate from the time between two looks. */
export function observe(node, view, atMs) {
  const { processed } = view;
  const since = atMs - node.countedAt;
  // A smaller count is another agent's of the same name.
  const comparable = node.counted !== undefined && processed >= node.counted && since <= RATE_MS[1];
  if (!comparable) node.rate = undefined;
  else if (since >= RATE_MS[0]) node.rate = ((processed - node.counted) * 1000) / since;
  if (!comparable || since >= RATE_MS[0]) {
    node.counted = processed;
    node.countedAt = atMs;
  }
  Object.assign(node, {
    kind: view.kind, name: view.name, path: view.path, behavior: view.behavior, status: view.status,
    restarts: view.restarts, exit: view.last_exit?.reason, uptime: view.uptime_ms, queued: view.queued, processed,
    intensity: view.intensity, periodMs: view.period_ms,
  });
}

export class Model {
  root = null;
  byPath = new Map();
  /** What the user opened and closed, against the rule. */
  choices = new Map();

  clear() {
    this.root = null;
    this.byPath.clear();
  }

  /** Takes over a part of the tree as the node sent it. */
  merge(view, atMs, parent = null, index = 0) {
    let node = this.byPath.get(view.path);
    if (!node) {
      node = { children: new Map(), open: false, rows: 1, total: 0 };
      this.byPath.set(view.path, node);
    }
    observe(node, view, atMs);
    node.key = keyOf(node.kind, node.name, node.path);
    if (parent) this.#place(node, parent, index);
    else if (!node.parent) this.root = node;
    this.#shrink(node, view.children_total);
    view.children.forEach((child, at) => this.merge(child, atMs, node, view.children_offset + at));
    return node;
  }

  #place(node, parent, index) {
    if (node.parent && node.parent.children.get(node.index) === node && node.index !== index) {
      node.parent.children.delete(node.index);
    }
    const before = parent.children.get(index);
    if (before && before !== node) this.forget(before);
    node.parent = parent;
    node.index = index;
    node.level = (parent.level || 1) + 1;
    parent.children.set(index, node);
  }

  #shrink(node, total) {
    if (total < node.total) {
      for (const [index, child] of node.children) if (index >= total) this.forget(child);
    }
    node.total = total;
  }

  /** Forgets a node and everything below it. */
  forget(node) {
    for (const child of node.children.values()) this.forget(child);
    node.children.clear();
    if (this.byPath.get(node.path) === node) this.byPath.delete(node.path);
    if (node.parent && node.parent.children.get(node.index) === node) node.parent.children.delete(node.index);
    if (node === this.root) this.root = null;
  }

  /** Forgets leaves far from the children `near` says are looked at. */
  prune(near) {
    for (const node of this.byPath.values()) {
      if (node.children.size <= KEPT_MAX) continue;
      const [from, to] = near(node) || [0, 0];
      for (const [index, child] of node.children) {
        if ((index < from - PAGE || index > to + PAGE) && !child.open) this.forget(child);
      }
    }
  }

  toggle(node, open) {
    if (this.choices.size >= CHOICES_MAX) this.choices.delete(this.choices.keys().next().value);
    this.choices.set(node.path, open);
  }

  isOpen(node) {
    return node.kind === "supervisor" && (this.choices.get(node.path) ?? node.total <= OPEN_MAX);
  }

  /** Counts the rows of what is open. Cost: the supervisors known, not their children. */
  layout(node = this.root) {
    if (!node) return 0;
    node.level ??= 1;
    node.open = this.isOpen(node);
    node.rows = 1;
    node.inner = [];
    if (!node.open) return 1;
    node.rows += node.total;
    for (const child of node.children.values()) {
      if (child.kind !== "supervisor") continue;
      if (this.layout(child) > 1 || child.open) {
        node.inner.push(child);
        node.rows += child.rows - 1;
      }
    }
    node.inner.sort((one, two) => one.index - two.index);
    return node.rows;
  }

  /** The rows `from` to `to`, each `{ row, node }` or, where nothing is known yet, `{ row, parent, index }`. */
  window(from, to, node = this.root, base = 0, out = []) {
    if (!node || base + node.rows <= from || base >= to) return out;
    if (base >= from) out.push({ row: base, node, parent: node.parent, index: node.index });
    if (!node.open) return out;
    let at = base + 1;
    let next = 0;
    const run = (end) => {
      const first = Math.max(next, next + from - at);
      const last = Math.min(end, next + to - at);
      for (let index = first; index < last; index++) {
        out.push({ row: at + index - next, node: node.children.get(index), parent: node, index });
      }
      at += end - next;
      next = end;
    };
    for (const child of node.inner) {
      run(child.index);
      this.window(from, to, child, at, out);
      at += child.rows;
      next = child.index + 1;
    }
    run(node.total);
    return out;
  }

  /** The row a node stands in, or -1 if something above it is closed. */
  rowOf(node) {
    let row = 0;
    for (let at = node; at.parent; at = at.parent) {
      if (!at.parent.open) return -1;
      row += 1 + at.index;
      for (const sibling of at.parent.inner) if (sibling.index < at.index) row += sibling.rows - 1;
    }
    return row;
  }

  /** Known supervisors and workers whose name has `text` in it. */
  matches(text, max) {
    const wanted = text.toLowerCase();
    const found = [];
    for (const node of this.byPath.values()) {
      if (found.length === max) break;
      if (node.kind !== "agent" && node.name.toLowerCase().includes(wanted)) found.push(node);
    }
    return found;
  }
}
