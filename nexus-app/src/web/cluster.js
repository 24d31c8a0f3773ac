// The cluster: its nodes on a circle, the links between them with rates and delays, and the same as a table.

import { $, h, setAttr, setText, bytes, count, plural, short } from "./dom.js";
import { call, Problem } from "./api.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [720, 420];
/** More nodes than this are shown as a table only: a picture of them would be a ball of wool. */
const NODES_MAX = 24;
/** Up to here every link has its words; beyond, its line and title have to do. */
const WORDS_MAX = 8;

const TONES = { alive: "good", suspect: "busy", down: "bad", left: "off" };

function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const rate = (number) => `${bytes(Math.round(number))}/s`;
const delay = (ms) => (ms === null || ms === undefined ? "–" : ms < 10 ? `${ms.toFixed(2)} ms` : `${Math.round(ms)} ms`);

export class Cluster {
  /** Whether the node is one of a cluster; null while that is not known. */
  #known = null;
  #shape = "";
  #parts = { nodes: new Map(), links: new Map() };

  /** Another run of the node may have another cluster, or none. */
  reset() { this.#known = null; }

  async refresh() {
    if (this.#known === false) return;
    let view;
    try {
      view = await call("/cluster/members");
    } catch (error) {
      // While its parts are started anew the last picture stays.
      if (!(error instanceof Problem) || error.code !== "no_cluster") {
        if (error instanceof Problem && this.#known !== null) return;
        throw error;
      }
      this.#known = false;
      this.#offer(false);
      return;
    }
    this.#known = true;
    this.#offer(true);
    this.#draw(view);
  }

  #offer(offered) {
    $("show-cluster").hidden = !offered;
    $("nodes-figure").hidden = !offered;
    document.querySelector("#views [data-view=cluster]").hidden = !offered;
    if (!offered && !$("cluster-panel").hidden) $("show-tree").click();
  }

  #draw(view) {
    const alive = view.members.filter((one) => one.state === "alive");
    setText($("nodes"), alive.length === view.members.length ? count(alive.length) : `${count(alive.length)} of ${count(view.members.length)}`);
    $("nodes").dataset.tone = view.members.some((one) => one.state === "down") ? "bad" : "";
    if ($("cluster-panel").hidden) return;
    setText($("cluster-title"), `Cluster ${view.cluster}`);
    setText($("cluster-standing"), view.ready ? "Ready" : "Not ready");
    $("cluster-standing").dataset.tone = view.ready ? "good" : view.minority ? "bad" : "busy";
    const agents = view.members.reduce((sum, one) => sum + (one.agents ?? 0), 0);
    setText($("cluster-summary"), view.ready ? `as ${view.node} sees it · ${plural(agents, "agent")}` : view.standing);
    const links = linksOf(view);
    this.#picture(view, links);
    this.#table(view, links);
  }

  #picture(view, links) {
    const map = $("cluster-map");
    const members = view.members;
    map.toggleAttribute("hidden", members.length > NODES_MAX);
    if (members.length > NODES_MAX) return;
    // The elements are made anew only if nodes or links come or go.
    const shape = JSON.stringify([members.map((one) => one.name), [...links.keys()]]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#build(map, members, links);
    }
    for (const [key, link] of links) {
      const { line, words, title } = this.#parts.links.get(key);
      const traffic = link.forth + link.back;
      setAttr(line, "stroke-width", (1 + Math.min(7, Math.log10(1 + traffic))).toFixed(1));
      setText(title, `${link.a} → ${link.b}: ${rate(link.forth)}; back: ${rate(link.back)}; there and back in ${delay(link.delay)}`);
      if (words) setText(words, `${delay(link.delay)} · ${rate(traffic)}`);
    }
    for (const member of members) {
      const { group, number, zone } = this.#parts.nodes.get(member.name);
      group.dataset.tone = TONES[member.state] ?? "off";
      group.dataset.state = member.state;
      setText(number, member.agents === null ? "–" : short(member.agents));
      const about = member.state === "alive" ? member.zone : member.state;
      setText(zone, about);
    }
    const words = members.map((one) => `${one.name} ${one.state}, ${one.agents ?? "unknown"} agents`);
    setAttr(map, "aria-label", `Nodes: ${words.join("; ")}. ${plural(links.size, "link")} between them.`);
  }

  #build(map, members, links) {
    const parts = (this.#parts = { nodes: new Map(), links: new Map() });
    const radius = members.length > 10 ? 24 : 34;
    const place = new Map();
    members.forEach((member, at) => {
      const angle = (2 * Math.PI * at) / members.length - Math.PI / 2;
      const alone = members.length === 1;
      place.set(member.name, {
        x: WIDTH / 2 + (alone ? 0 : Math.cos(angle) * (WIDTH / 2 - 110)),
        y: HEIGHT / 2 - 16 + (alone ? 0 : Math.sin(angle) * (HEIGHT / 2 - 66)),
      });
    });
    const lines = [];
    const words = [];
    for (const [key, { a, b }] of links) {
      const [from, to] = [place.get(a), place.get(b)];
      const title = s("title");
      const line = s("line", { x1: from.x, y1: from.y, x2: to.x, y2: to.y, class: "link" }, title);
      lines.push(line);
      const text = links.size <= WORDS_MAX ? s("text", { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 + 4, class: "link-words" }) : null;
      if (text) words.push(text);
      parts.links.set(key, { line, title, words: text });
    }
    const nodes = members.map((member) => {
      const { x, y } = place.get(member.name);
      const number = s("text", { x, y: y + 5, class: "node-agents" });
      const zone = s("text", { x, y: y + radius + 36, class: "node-zone" });
      const group = s("g", { class: member.me ? "node me" : "node", "data-node": member.name },
        s("circle", { cx: x, cy: y, r: radius }), number,
        s("text", { x, y: y + radius + 19, class: "node-name" }, member.name), zone);
      parts.nodes.set(member.name, { group, number, zone });
      return group;
    });
    map.replaceChildren(...lines, ...words, ...nodes);
  }

  #table(view, links) {
    const body = $("cluster-nodes").tBodies[0];
    const names = view.members.map((one) => one.name).join("\n");
    if (body.dataset.names !== names) {
      body.dataset.names = names;
      body.replaceChildren(...view.members.map(makeRow));
    }
    view.members.forEach((member, at) => {
      const { cells } = body.rows[at];
      const link = links.get(keyOf(view.node, member.name));
      const [to, from] = link ? (link.a === view.node ? [link.forth, link.back] : [link.back, link.forth]) : [];
      const apart = !member.me && member.state === "alive" && !member.connected;
      setText(cells[0].firstElementChild, member.me ? `${member.name} (this one)` : member.name);
      // Its own page asks for its own token.
      setAttr(cells[0].firstElementChild, "href", !member.me && /^https?:\/\//.test(member.debug ?? "") ? member.debug : null);
      const shown = [
        apart ? "alive, not connected" : member.state,
        member.zone,
        member.agents === null ? "–" : count(member.agents),
        member.me ? "" : delay(link?.delay),
        to === undefined ? "" : rate(to),
        from === undefined ? "" : rate(from),
        member.address,
      ];
      shown.forEach((text, column) => setText(cells[column + 1], text));
      cells[1].dataset.tone = apart ? "busy" : TONES[member.state] ?? "off";
    });
  }
}

function makeRow(member) {
  const cell = (kind, name) => h(kind, kind === "th" ? { scope: "row" } : { class: name });
  const row = h("tr", { "data-node": member.name });
  const name = cell("th");
  name.append(h("a", { target: "_blank", rel: "noopener noreferrer" }));
  row.append(name, ...["", "c-zone", "right", "right", "right c-traffic", "right c-traffic", "c-address"].map((name) => cell("td", name)));
  return row;
}

const keyOf = (a, b) => (a < b ? `${a}\n${b}` : `${b}\n${a}`);

/** Each pair of nodes with a link once, from what both ends tell; the end that answers knows best. */
function linksOf(view) {
  const present = new Set(view.members.map((one) => one.name));
  const links = new Map();
  const tellers = [...view.members].sort((one, other) => Number(one.me) - Number(other.me));
  for (const member of tellers) {
    for (const link of member.links) {
      if (!present.has(link.peer) || link.peer === member.name) continue;
      const [a, b] = member.name < link.peer ? [member.name, link.peer] : [link.peer, member.name];
      const [forth, back] = a === member.name ? [link.sent_per_s, link.received_per_s] : [link.received_per_s, link.sent_per_s];
      const known = links.get(keyOf(a, b));
      links.set(keyOf(a, b), { a, b, forth, back, delay: link.delay_ms ?? known?.delay ?? null });
    }
  }
  return new Map([...links].sort(([one], [other]) => (one < other ? -1 : 1)));
}
