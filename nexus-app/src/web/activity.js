// What happened: the live list of events, and the dead letters. Both hold a fixed number of entries.

import { $, h, setText, count, plural, clock, reasonText } from "./dom.js";
import { call, stream, Gone, Problem, Unauthorized } from "./api.js";

/** Events kept of each class: a flood of starts must not push out the one crash among them. */
const KEPT_MAX = 300;
/** Events of the past the page begins with. */
const PAST = 4000;
const SHOWN_MAX = 200;
/** Time between two drawings of a list under a flood. */
const DRAW_MS = 250;
const RETRY_MS = [1000, 15_000];
const LETTERS_MAX = 100;

/** Each event: its word, its tone, whom it is about and what there is to say. */
const EVENTS = {
  "agent.started": (e) => ["started", "quiet", e.agent, `${e.behavior}, start ${count(e.incarnation)}`],
  "agent.stopped": (e) => ["stopped", "quiet", e.agent, `${reasonText(e.reason)}${e.queued ? `, ${count(e.queued)} waiting` : ""}`],
  "agent.hibernated": (e) => ["asleep", "quiet", e.agent, `${plural(e.state_bytes, "byte")} of state`],
  "agent.not_hibernated": (e) => ["awake", "bad", e.agent, `cannot hibernate: ${e.reason}`],
  "agent.wake_failed": (e) => ["asleep", "bad", e.agent, `did not wake for ${plural(e.letters, "message")}`],
  "agent.intelligence_adapted": (e) => ["level", "busy", e.agent, `asked for ${e.requested}, served by ${e.granted}`],
  "supervision.child_started": (e) => ["started", "quiet", e.child, `under ${e.supervisor}`],
  "supervision.child_exited": (e) => ["exited", orderly(e.reason) ? "quiet" : "bad", e.child, reasonText(e.reason)],
  "supervision.child_restarted": (e) => ["restarted", "good", e.child,
    `restart ${count(e.restarts)}${e.cause === e.child ? "" : `, because of ${e.cause}`}: ${reasonText(e.reason)}`],
  "supervision.child_terminated": (e) => ["ended", "busy", e.child, `${e.why}: ${reasonText(e.reason)}`],
  "supervision.start_failed": (e) => ["start failed", "bad", e.child, reasonText(e.reason)],
  "supervision.restart_delayed": (e) => ["waiting", "busy", e.child, `restart in ${count(e.delay_ms)} ms: ${reasonText(e.reason)}`],
  "supervision.child_unresponsive": (e) => ["stuck", "bad", e.child, `has not ended ${count(e.waited_ms)} ms after it was killed`],
  "supervision.escalated": (e) => ["gave up", "bad", e.supervisor, reasonText(e.reason)],
  "route.dead_letter": (e) => ["dead letter", "busy", e.target, String(e.reason).replaceAll("_", " ")],
  "feed.started": (e) => ["feed", "good", e.feed, e.resumed_at ? `resumed after ${plural(e.resumed_at, "request")}` : "started"],
  "feed.completed": (e) => ["feed", "good", e.feed, `completed: ${plural(e.records, "record")}, ${plural(e.requests, "request")}, ${count(e.malformed)} malformed`],
  "feed.failed": (e) => ["feed", "bad", e.feed, `failed: ${e.error}`],
  "cluster.member_up": (e) => ["member", "good", e.node, `up at ${e.address}${e.zone ? `, zone ${e.zone}` : ""}`],
  "cluster.member_changed": (e) => ["member", "quiet", e.node, `changed, at ${e.address}${e.zone ? `, zone ${e.zone}` : ""}`],
  "cluster.member_suspect": (e) => ["member", "busy", e.node, "does not answer"],
  "cluster.member_down": (e) => ["member", "bad", e.node, "is down"],
  "cluster.member_left": (e) => ["member", "busy", e.node, "has left"],
  "cluster.rejoined": () => ["cluster", "busy", "this node", "was declared down by the others, and is back"],
  "cluster.partition_changed": (e) => ["cluster", e.minority ? "bad" : "good", "this node",
    e.minority ? `is in a minority: ${count(e.reachable)} of ${count(e.agreed)} in reach` : "is in no minority any more"],
  "cluster.standing_changed": (e) => ["cluster", e.ready ? "good" : "busy", "this node", e.detail],
  "cluster.duplicate_resolved": (e) => ["duplicate", "busy", e.agent, `stays on ${e.winner}, stopped on ${e.loser}`],
  "cluster.handshake_refused": (e) => ["refused", "bad", e.peer, `${e.by_us ? "by this node" : "by the other"}: ${e.detail || e.reason}`],
  missed: (e) => ["missed", "busy", plural(e.count, "event"), "came faster than they could be sent"],
};
const orderly = (reason) => ["normal", "shutdown", "hibernated"].includes(reason?.kind);
const ROUTINE = new Set(["agent.started", "agent.stopped", "agent.hibernated", "supervision.child_started"]);

export class Activity {
  #last = null;
  /** Events up to this one are of the past: nothing flashes for them. */
  #live = 0;
  #notable = [];
  #routine = [];
  #timer = 0;
  #onRestart;
  #onSelect;
  #stop = null;

  constructor({ onRestart, onSelect }) {
    this.#onRestart = onRestart;
    this.#onSelect = onSelect;
    $("all-events").addEventListener("change", () => this.#draw());
  }

  /** Another run of the node: its order of events began anew. */
  reset() {
    this.#last = null;
    this.#notable = [];
    this.#routine = [];
    this.#draw();
    this.#stop?.abort();
  }

  /** Follows the events for ever; `live` resolves when the node can be reached, `lost` hears that it cannot. */
  async follow(live, lost) {
    let delay = RETRY_MS[0];
    for (;;) {
      await live();
      this.#stop = new AbortController();
      try {
        this.#last ??= await this.#beginning();
        await stream(this.#last, (name, data) => {
          if (name !== "open") return this.#take(name, data);
          delay = RETRY_MS[0];
          setText($("stream"), "live");
        }, this.#stop.signal);
      } catch (error) {
        if (error instanceof Gone || error instanceof Unauthorized) lost(error);
        else if (error instanceof Problem) setText($("stream"), error.message);
        else throw error;
      }
      if ($("stream").textContent === "live") setText($("stream"), "reconnecting");
      await new Promise((resolve) => setTimeout(resolve, delay * (0.75 + Math.random() / 2)));
      delay = Math.min(delay * 2, RETRY_MS[1]);
    }
  }

  /** Some way before the newest event: the list begins with what has just happened. */
  async #beginning() {
    const { newest } = await call(`/debug/events?format=json&limit=1&since=${Number.MAX_SAFE_INTEGER}`);
    this.#live = newest;
    return Math.max(0, newest - PAST);
  }

  #take(name, event) {
    if (name === "missed") {
      event = { ...event, event: "missed", seq: event.to, unix_ms: Date.now() };
    }
    this.#last = event.seq;
    if (!EVENTS[event.event]) return;
    const kept = ROUTINE.has(event.event) ? this.#routine : this.#notable;
    kept.push(event);
    // In one cut for many: a shift for each event of a flood would be slow.
    if (kept.length > 2 * KEPT_MAX) kept.splice(0, kept.length - KEPT_MAX);
    if (event.event === "supervision.child_restarted" && event.seq > this.#live) this.#onRestart(event);
    if (!this.#timer) {
      this.#timer = setTimeout(() => {
        this.#timer = 0;
        this.#draw();
      }, DRAW_MS);
    }
  }

  #draw() {
    const list = $("event-list");
    let shown = this.#notable;
    if ($("all-events").checked) shown = [...shown, ...this.#routine].sort((one, two) => one.seq - two.seq);
    shown = shown.slice(-SHOWN_MAX).reverse();
    const before = new Map([...list.children].map((item) => [item.dataset.seq, item]));
    let place = list.firstElementChild;
    for (const event of shown) {
      const item = before.get(String(event.seq)) || this.#item(event);
      before.delete(String(event.seq));
      if (item === place) place = place.nextElementSibling;
      else list.insertBefore(item, place);
    }
    for (const item of before.values()) item.remove();
    if (!shown.length) list.replaceChildren(h("li", { class: "empty", text: "Nothing has failed lately." }));
  }

  #item(event) {
    const [word, tone, subject, text] = EVENTS[event.event](event);
    return h("li", { "data-seq": event.seq, "data-event": event.event },
      h("time", { text: clock(event.unix_ms) }),
      h("span", { class: "word", "data-tone": tone, text: word }),
      h("div", {}, this.#subject(event, subject), " ", h("span", { class: "text", text })));
  }

  /** The name, as a button where there is something to show. */
  #subject(event, name) {
    const agent = event.agent ?? event.target;
    const target = agent !== undefined ? { kind: "agent", name: agent }
      : event.child !== undefined ? { name: event.child, path: `${event.supervisor}/${event.child}` }
        : event.supervisor !== undefined ? { kind: "supervisor", name: event.supervisor.split("/").at(-1), path: event.supervisor } : null;
    if (!target) return h("span", { class: "subject", text: name });
    return h("button", { type: "button", class: "subject", text: name, onclick: () => this.#onSelect(target) });
  }

  /** Shows the newest dead letters. */
  async refreshLetters() {
    const page = await call(`/debug/dead-letters?limit=${LETTERS_MAX}`).catch((error) => {
      // The topology may allow only shorter pages.
      if (error instanceof Problem && Array.isArray(error.range)) return call("/debug/dead-letters");
      throw error;
    });
    const counts = Object.entries(page.counts).filter(([, number]) => number > 0);
    $("letter-counts").replaceChildren(...(counts.length
      ? counts.map(([reason, number]) => h("span", { class: "chip", text: `${reason.replaceAll("_", " ")} ${count(number)}` }))
      : [h("span", { class: "muted", text: "Every message was handled or is waiting." })]));
    const list = $("letter-list");
    const before = new Map([...list.children].map((item) => [item.dataset.seq, item]));
    list.replaceChildren(...page.dead_letters.map((letter) => before.get(String(letter.seq)) || this.#letter(letter)));
  }

  #letter(letter) {
    const payload = letter.payload === undefined ? plural(letter.payload_bytes, "byte") : JSON.stringify(letter.payload);
    return h("li", { "data-seq": letter.seq },
      h("time", { text: clock(letter.unix_ms) }),
      h("span", { class: "word", "data-tone": "busy", text: letter.reason.replaceAll("_", " ") }),
      h("div", {},
        h("button", { type: "button", class: "subject", text: letter.target, onclick: () => this.#onSelect({ kind: "agent", name: letter.target }) }),
        " ", h("span", { class: "text", text: `${letter.operation} ${letter.key}` }),
        h("code", { text: payload.length > 300 ? `${payload.slice(0, 300)}…` : payload })));
  }
}
