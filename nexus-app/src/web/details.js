// The panel about one agent, supervisor or worker: what it is and does, its last exits, and what can be done with it.

import { $, h, setText, count, duration, perSecond, plural, span, clock, tone, say } from "./dom.js";
import { call, encodePath, mayControl, Problem } from "./api.js";
import { keyOf, observe } from "./model.js";
import { showValue } from "./value.js";

const EXITS_MAX = 20;

const WHAT_FOLLOWS = {
  kill: (shown) => (shown.kind === "agent"
    ? "It ends at once, as a crash would end it. Its supervisor decides what follows, usually a restart."
    : "It ends at once, and what is below it ends with it. Its supervisor decides what follows, usually a restart."),
  restart: (shown) => (shown.kind === "agent"
    ? "It ends in order and is started again."
    : "It and everything below it ends in order and is started again."),
  stop: () => "It ends in order and stays down until it is started again.",
};

export class Details {
  selected = null;
  #panel = $("details");
  #onClose;
  #part = {};
  #measured = {};

  constructor(onClose) {
    this.#onClose = onClose;
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented) return;
      event.preventDefault();
      this.close();
    });
  }

  /** Shows `{ kind, name, path }`; the kind is found out where it is not known. */
  async select(node) {
    const { kind, name, path } = node;
    const key = keyOf(kind, name, path);
    if (this.selected?.key !== key) {
      this.selected = { key, kind, name, path };
      this.#measured = {};
      this.#build();
    }
    this.#panel.hidden = false;
    document.body.classList.add("with-details");
    // On a narrow window the panel covers the page.
    if (matchMedia("(max-width: 720px)").matches) this.#part.close.focus();
    await this.refresh();
  }

  close() {
    if (!this.selected) return;
    this.selected = null;
    this.#panel.hidden = true;
    this.#panel.replaceChildren();
    document.body.classList.remove("with-details");
    this.#onClose();
  }

  #build() {
    const { name, kind } = this.selected;
    const part = (this.#part = {});
    part.status = h("span", { class: "pill" });
    part.close = h("button", { type: "button", class: "plain", "aria-label": "Close details", text: "✕", onclick: () => this.close() });
    part.facts = h("dl", { class: "facts" });
    part.actions = h("div", { class: "buttons" });
    part.missing = h("p", { class: "warning", hidden: true });
    part.about = h("p", { class: "muted" });
    part.exits = h("ol", { class: "exits" });
    part.exitsTitle = h("h3", { text: "Last exits" });
    part.state = h("dl", { class: "value" });
    part.stateTitle = h("h3", { text: "State" });
    part.stateError = h("p", { class: "warning", hidden: true });
    const body = [part.missing, part.facts, part.actions];
    if (kind === "agent") body.push(this.#askForm(), part.stateTitle, part.stateError, part.state);
    body.push(part.exitsTitle, part.exits);
    this.#panel.replaceChildren(
      h("header", {}, h("div", {}, h("h2", { id: "details-name", text: name }), part.about), part.status, part.close),
      h("div", { class: "body" }, ...body),
    );
    this.#offer();
  }

  /** The buttons, or why there are none. */
  async #offer() {
    const { selected } = this;
    const { actions } = this.#part;
    let control;
    try { control = await mayControl(); } catch { return; }
    if (this.selected !== selected) return;
    // A query only looks, so it is always allowed.
    for (const option of this.#part.ask?.querySelectorAll("option") ?? []) option.disabled = !control.allowed && option.value !== "query";
    if (!control.allowed) {
      actions.replaceChildren(h("p", { class: "muted", id: "no-control", text: `Nothing can be changed from here: ${control.why}.` }));
      return;
    }
    if (selected.kind !== "agent" && !selected.path.includes("/")) {
      actions.replaceChildren(h("p", { class: "muted", text: "The root ends with the node: a signal stops it." }));
      return;
    }
    const kinds = selected.kind === "agent" ? ["kill", "restart", "stop"] : ["kill", "restart"];
    actions.replaceChildren(...kinds.map((action) => (this.#part[action] = h("button", {
      type: "button", "data-action": action, class: action === "restart" ? "" : "danger",
      text: action[0].toUpperCase() + action.slice(1), onclick: () => this.#act(action),
    }))));
  }

  async #act(action) {
    const { selected } = this;
    if (!(await confirm(action, selected))) return;
    const base = selected.kind === "agent" ? `/debug/agents/${encodePath(selected.name)}` : `/debug/supervisors/${encodePath(selected.path)}`;
    try {
      const answer = await call(`${base}/${action}`, { method: "POST", timeout: 60_000 });
      say(`${selected.name}: ${answer.done || "done"}`);
    } catch (error) {
      say(`${selected.name}: ${error instanceof Problem ? error.whole : error.message}`, true);
    }
    this.refresh().catch(() => {});
  }

  #askForm() {
    const part = this.#part;
    const operation = h("select", { id: "ask-operation" }, ...["query", "update", "action"].map((one) => h("option", { value: one, text: one })));
    const key = h("input", { id: "ask-key", required: true, maxlength: 1000, autocomplete: "off", autocapitalize: "off", spellcheck: "false", placeholder: "summary" });
    const payload = h("textarea", { id: "ask-payload", rows: 2, spellcheck: "false", placeholder: "JSON" });
    const label = h("label", { for: "ask-payload", text: "Default (optional JSON)" });
    operation.addEventListener("change", () => setText(label, operation.value === "query" ? "Default (optional JSON)" : "Payload (optional JSON)"));
    part.answer = h("pre", { id: "answer", tabindex: "0", "aria-live": "polite", "aria-label": "Answer", hidden: true });
    const send = h("button", { class: "primary", text: "Ask" });
    const form = h("form", { id: "ask" },
      h("div", { class: "fields" },
        h("div", {}, h("label", { for: "ask-operation", text: "Operation" }), operation),
        h("div", { class: "grow" }, h("label", { for: "ask-key", text: "Key" }), key), send),
      label, payload, part.answer);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask(operation.value, key.value, payload.value.trim(), send);
    });
    part.ask = h("details", { class: "ask" }, h("summary", {}, h("h3", { text: "Ask it" })), form);
    return part.ask;
  }

  async #ask(operation, key, text, send) {
    const { answer } = this.#part;
    const { name } = this.selected;
    const show = (words, bad) => {
      answer.hidden = false;
      answer.dataset.tone = bad ? "bad" : "good";
      answer.textContent = words.length > 100_000 ? `${words.slice(0, 100_000)}\n…` : words;
    };
    const body = { operation, key };
    try {
      if (text) body[operation === "query" ? "default" : "payload"] = JSON.parse(text);
    } catch (error) {
      show(`this is no JSON: ${error.message}`, true);
      return;
    }
    send.disabled = true;
    try {
      const reply = await call(`/api/agents/${encodePath(name)}/ask`, { method: "POST", body });
      show(JSON.stringify(reply.value, null, 2) ?? "null", false);
    } catch (error) {
      show(error instanceof Problem ? error.whole : error.message, true);
    } finally {
      send.disabled = false;
    }
  }

  async refresh() {
    const { selected } = this;
    if (!selected) return;
    try {
      if (selected.kind === "agent") {
        const view = await call(`/debug/agents/${encodePath(selected.name)}`);
        if (this.selected === selected) this.#showAgent(view);
      } else {
        const query = new URLSearchParams({ path: selected.path, depth: 0 });
        const { tree, at_ms: atMs } = await call(`/debug/tree?${query}`);
        if (this.selected !== selected) return;
        if (tree.kind === "agent" || selected.kind === undefined) await this.select(tree);
        else this.#showOther(tree, atMs);
      }
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (this.selected === selected) this.#show({ status: "gone" }, [], error.message);
    }
  }

  #show({ status, behavior }, facts, missing = "") {
    const part = this.#part;
    setText(part.status, status);
    part.status.dataset.tone = tone(status);
    part.missing.hidden = !missing;
    setText(part.missing, missing);
    if (behavior !== undefined) setText(part.about, `${this.selected.kind} · ${behavior.replaceAll("_", " ")}`);
    const running = status === "running" || status === "starting";
    if (part.kill) part.kill.disabled = !running;
    if (part.stop) part.stop.disabled = status === "stopped" || status === "gone";
    if (part.restart) setText(part.restart, running ? "Restart" : "Start");
    if (facts.length === 0) return;
    if (part.facts.children.length !== facts.length) {
      part.facts.replaceChildren(...facts.map(([name]) => h("div", {}, h("dt", { text: name }), h("dd"))));
    }
    facts.forEach(([, value], at) => setText(part.facts.children[at].lastElementChild, value));
  }

  #showAgent(view) {
    observe(this.#measured, { ...view, kind: "agent" }, performance.now());
    this.#show(view, [
      ["Inbox", `${count(view.queued)} of ${count(view.inbox_limit)}`],
      ["Processed", count(view.processed)],
      ["Per second", perSecond(this.#measured.rate)],
      ["Sent to it", count(view.sent)],
      ["Rejected", count(view.rejected)],
      ["Dead-lettered", count(view.dead_lettered)],
      ["Restarts", count(view.restarts)],
      ["Uptime", view.uptime_ms ? duration(view.uptime_ms) : "–"],
      ["Level", view.level],
    ]);
    this.#showExits(view.exits);
    const part = this.#part;
    part.stateError.hidden = !view.state_error;
    setText(part.stateError, view.state_error ? `It does not show its state: ${view.state_error.detail}` : "");
    if (view.state !== undefined) showValue(part.state, view.state);
  }

  #showOther(tree) {
    const facts = [];
    if (tree.kind === "supervisor") {
      facts.push(["Strategy", tree.behavior.replaceAll("_", " ")], ["Children", count(tree.children_total)],
        ["Allows", `${plural(tree.intensity, "restart")} in ${span(tree.period_ms)}`]);
    }
    facts.push(["Restarts", count(tree.restarts)], ["Uptime", tree.uptime_ms ? duration(tree.uptime_ms) : "–"]);
    this.#show(tree, facts);
    this.#showExits(tree.last_exit ? [tree.last_exit] : []);
  }

  #showExits(exits) {
    const { exits: list, exitsTitle } = this.#part;
    setText(exitsTitle, exits.length ? "Last exits" : "No exits so far");
    const shown = exits.slice(0, EXITS_MAX);
    const stamp = JSON.stringify(shown.map((exit) => [exit.unix_ms, exit.reason]));
    if (list.stamp === stamp) return;
    list.stamp = stamp;
    list.replaceChildren(...shown.map((exit) => h("li", {},
      h("time", { text: clock(exit.unix_ms) }), h("span", { "data-tone": exit.normal ? "off" : "bad", text: exit.reason }))));
  }
}

/** Asks the user; Escape and Cancel say no, which is where the focus begins. */
function confirm(action, shown) {
  const dialog = $("confirm");
  $("confirm-title").textContent = `${action[0].toUpperCase() + action.slice(1)} ${shown.name}?`;
  $("confirm-text").textContent = WHAT_FOLLOWS[action](shown);
  $("confirm-yes").textContent = action[0].toUpperCase() + action.slice(1);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
