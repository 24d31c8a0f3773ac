// The head of the page: the node in a few figures, and its feeds.

import { $, h, setText, setAttr, bytes, count, duration, perSecond, plural, short, tone } from "./dom.js";
import { call } from "./api.js";

/** Samples of the message rate in the little curve. */
const TREND = 60;
/** How far this page's clock and the node's may drift apart between two looks. */
const CLOCKS_MS = 500;
/** The first malformed records shown of a feed. */
const MALFORMED_MAX = 5;

export class Overview {
  /** The latest moment the node can have started at, on this page's clock. */
  #started = Infinity;
  #processed = null;
  #trend = [];
  #onNewRun;

  constructor(onNewRun) { this.#onNewRun = onNewRun; }

  /** The node as it says without a token. */
  async health() {
    const asked = performance.now();
    const health = await call("/healthz");
    // The node told its uptime at some moment between question and answer. If even the earliest start that allows is later
    // than the latest one before, it was started again.
    if (asked - health.uptime_ms > this.#started + CLOCKS_MS) {
      this.#processed = null;
      this.#trend = [];
      this.#onNewRun();
    }
    this.#started = performance.now() - health.uptime_ms;
    setText($("node-name"), health.node);
    setText($("version"), `nexus ${health.version}`);
    document.title = `${health.node} · Nexus`;
    setText($("uptime"), duration(health.uptime_ms));
    setText($("agents"), short(health.agents));
    const waiting = health.conditions.filter((condition) => !condition.ready);
    this.#pill(waiting.length ? "Degraded" : "Ready", waiting.length ? "busy" : "good",
      (waiting.length ? waiting : health.conditions).map(({ name, detail }) => `${name}: ${detail}`).join("\n"));
  }

  #pill(text, tone, title = "") {
    const pill = $("readiness");
    setText(pill, text);
    pill.dataset.tone = tone;
    pill.title = title;
  }

  gone() { this.#pill("Unreachable", "bad"); }

  async refresh(restarts) {
    const [metrics, { feeds }] = await Promise.all([call("/metrics"), call("/debug/feeds")]);
    this.#figures(read(metrics), restarts);
    this.#feeds(feeds);
  }

  #figures(metrics, restarts) {
    const processed = metrics.get("nexus_messages_processed_total") ?? 0;
    const at = performance.now();
    if (this.#processed && processed >= this.#processed.count) {
      const rate = ((processed - this.#processed.count) * 1000) / (at - this.#processed.at);
      setText($("rate"), perSecond(rate));
      this.#trend.push(rate);
      if (this.#trend.length > TREND) this.#trend.shift();
      const top = Math.max(1, ...this.#trend);
      const points = this.#trend.map((value, index) => `${60 - this.#trend.length + index + 1},${(19 - (18 * value) / top).toFixed(1)}`);
      setAttr($("trend").firstElementChild, "points", points.join(" "));
    }
    this.#processed = { count: processed, at };
    setText($("queued"), short(metrics.get("nexus_messages_queued") ?? 0));
    const dead = metrics.get("nexus_messages_dead_lettered_total") ?? 0;
    setText($("dead"), short(dead));
    $("dead").dataset.tone = dead ? "busy" : "";
    setText($("tab-letters"), dead ? `Dead letters ${short(dead)}` : "Dead letters");
    if (restarts !== undefined) setText($("restarts"), short(restarts));
  }

  #feeds(feeds) {
    const section = $("feeds");
    section.hidden = feeds.length === 0;
    if (section.children.length !== feeds.length) section.replaceChildren(...feeds.map(makeFeed));
    feeds.forEach((feed, at) => drawFeed(section.children[at], feed));
  }
}

function makeFeed() {
  const item = h("div", { class: "feed" });
  item.cells = {
    name: h("strong"), state: h("span", { class: "word" }), bar: h("progress", { max: 1 }),
    share: h("span", { class: "number" }), text: h("span", { class: "muted" }), error: h("p", { class: "warning", hidden: true }),
  };
  const { name, state, bar, share, text, error } = item.cells;
  item.append(name, state, bar, share, text, error);
  return item;
}

function drawFeed({ cells: part }, feed) {
  setText(part.name, feed.name);
  setText(part.state, feed.state);
  part.state.dataset.tone = tone(feed.state);
  const known = feed.bytes_total > 0;
  const done = feed.state === "completed" ? 1 : known ? Math.min(1, feed.bytes_read / feed.bytes_total) : null;
  setAttr(part.bar, "value", done);
  setAttr(part.bar, "aria-label", `${feed.name}: ${feed.state}`);
  setText(part.share, done === null ? `${bytes(feed.bytes_read)} read` : feed.state === "completed" ? "100%" : `${Math.floor(done * 100)}% read`);
  const words = [plural(feed.records, "record")];
  if (feed.state === "running") words.push(`${perSecond(feed.records_per_s)}/s`);
  words.push(plural(feed.confirmed, "request"));
  for (const [number, word] of [[feed.malformed, "malformed"], [feed.dead_lettered, "dead-lettered"], [feed.late, "late"], [feed.resumes, "resumes"]]) {
    if (number) words.push(`${count(number)} ${word}`);
  }
  setText(part.text, words.join(" · "));
  part.text.title = (feed.first_malformed || []).slice(0, MALFORMED_MAX).map((one) => `line ${one.line}: ${one.reason ?? one.error ?? ""}`).join("\n");
  part.error.hidden = !feed.error;
  setText(part.error, feed.error || "");
}

/** Prometheus's text as sums by name, whatever the labels. */
function read(text) {
  const sums = new Map();
  for (const line of text.split("\n")) {
    const match = /^(nexus_messages_\w+)(?:\{[^}]*\})? ([0-9.e+]+)/.exec(line);
    if (match) sums.set(match[1], (sums.get(match[1]) || 0) + Number(match[2]));
  }
  return sums;
}
