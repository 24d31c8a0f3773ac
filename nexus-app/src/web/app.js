// The page: asks the node about what is in sight once a second, follows its events, and says when it is gone.

import { $, setText } from "./dom.js";
import { Gone, Problem, Unauthorized, forgetControl, hasToken, setToken, takeToken } from "./api.js";
import { Activity } from "./activity.js";
import { Cluster } from "./cluster.js";
import { Details } from "./details.js";
import { Overview } from "./overview.js";
import { TreeView } from "./tree.js";

const ROUND_MS = 1000;
const BACKOFF_MS = [1000, 15_000];

const tree = new TreeView((node) => select(node));
const details = new Details(() => {
  tree.mark(null);
  tree.focus();
});
const activity = new Activity({
  onRestart: ({ supervisor, child }) => tree.flash(supervisor, child),
  onSelect: (node) => select(node),
});
const cluster = new Cluster();
const overview = new Overview(() => {
  forgetControl();
  cluster.reset();
  tree.reset();
  activity.reset();
});

function select(node) {
  details.select(node).catch(lost).finally(() => tree.mark(details.selected?.key ?? null));
  tree.mark(details.selected?.key ?? null);
}

// The link to the node: `live`, `gone` or `locked` (it wants another token).
let state = "starting";
let waiting = [];
let wake = () => {};

const whenLive = () => (state === "live" ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve)));

function become(next) {
  state = next;
  $("login").hidden = next !== "locked";
  $("main").hidden = next === "locked" || next === "starting";
  document.body.classList.toggle("stale", next === "gone");
  if (next !== "gone") $("gone").hidden = true;
  if (next !== "live") return;
  for (const resolve of waiting.splice(0)) resolve();
}

/** Whatever failed somewhere is looked into by the next round, now. */
function lost() { wake(); }

/** Waits, until `wake` is called at the latest. */
function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

async function round() {
  await overview.health();
  await Promise.all([
    tree.refresh(),
    details.refresh(),
    overview.refresh(tree.totals?.restarts),
    cluster.refresh(),
    shownLetters() ? activity.refreshLetters() : null,
  ]);
}

async function run() {
  let failures = 0;
  for (;;) {
    // A page nobody sees asks nothing; it looks again as soon as somebody does.
    if (document.hidden) await pause(60_000);
    if (document.hidden) continue;
    try {
      await round();
      failures = 0;
      become("live");
      await pause(ROUND_MS);
    } catch (error) {
      if (error instanceof Unauthorized) await login(error);
      else if (error instanceof Gone) await wait(error, failures++);
      else {
        // A problem such as a tree that is not started yet; anything else is this page's own fault, and no reason to stop.
        if (!(error instanceof Problem)) console.error(error);
        become("live");
        setText($("summary"), error instanceof Problem ? error.whole : `this page failed: ${error.message}`);
        await pause(ROUND_MS);
      }
    }
  }
}

/** Waits longer after each failure, and shows for how long. */
async function wait(error, failures) {
  become("gone");
  overview.gone();
  $("gone").hidden = false;
  const delay = Math.min(BACKOFF_MS[1], BACKOFF_MS[0] * 2 ** failures) * (0.75 + Math.random() / 2);
  const until = performance.now() + delay;
  let pressed = false;
  $("retry").onclick = () => {
    pressed = true;
    wake();
  };
  while (!pressed && performance.now() < until) {
    const seconds = Math.ceil((until - performance.now()) / 1000);
    setText($("gone-text"), `Not connected: ${error.message}. What you see is old. Next try in ${seconds} s.`);
    await pause(Math.min(1000, until - performance.now()));
  }
  setText($("gone-text"), "Trying to reach the node again.");
}

function login(error) {
  const asked = hasToken();
  become("locked");
  setText($("login-reason"), asked ? `${error.message[0].toUpperCase()}${error.message.slice(1)}. A node that was started again may have a new one.` : "");
  $("token").focus();
  return new Promise((resolve) => {
    $("login-form").onsubmit = (event) => {
      event.preventDefault();
      setToken($("token").value);
      $("token").value = "";
      resolve();
    };
  });
}

// Tabs and, on a narrow window, views.

const shownLetters = () => $("tab-letters").getAttribute("aria-selected") === "true";

function showTab(name) {
  for (const tab of ["events", "letters"]) {
    $(`tab-${tab}`).setAttribute("aria-selected", tab === name);
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
    $(tab).hidden = tab !== name;
  }
  wake();
}

function showView(name) {
  document.body.dataset.view = name;
  for (const button of $("views").children) button.setAttribute("aria-pressed", button.dataset.view === name);
  const clustered = name === "cluster";
  $("cluster-panel").hidden = !clustered;
  $("tree-panel").hidden = clustered;
  if (name === "events" || name === "letters") showTab(name);
  wake();
}

for (const tab of ["events", "letters"]) {
  $(`tab-${tab}`).addEventListener("click", () => showTab(tab));
  $(`tab-${tab}`).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = tab === "events" ? "letters" : "events";
    showTab(other);
    $(`tab-${other}`).focus();
  });
}
$("show-cluster").addEventListener("click", () => {
  showView("cluster");
  $("show-tree").focus();
});
$("show-tree").addEventListener("click", () => {
  showView("tree");
  $("show-cluster").focus();
});
$("views").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) showView(button.dataset.view);
});

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || $("confirm").open) return;
  const typing = event.target.closest("input, textarea, select");
  if (event.key === "/" && !typing && !$("main").hidden) {
    event.preventDefault();
    showView("tree");
    $("search").focus();
    $("search").select();
  } else if (event.key === "Escape" && !typing) {
    if (details.selected) details.close();
    else tree.clearSearch();
  }
});
document.addEventListener("visibilitychange", () => wake());

takeToken();
showView("tree");
become("starting");
activity.follow(whenLive, lost);
run();
