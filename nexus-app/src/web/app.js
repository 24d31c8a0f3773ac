"use strict";

// The token comes from the address's fragment, which browsers send to nobody, or from the form.
const tree = document.getElementById("tree");
const fragment = new URLSearchParams(location.hash.slice(1)).get("token");
if (fragment) {
  sessionStorage.setItem("token", fragment);
  history.replaceState(null, "", location.pathname);
}

async function show() {
  const token = sessionStorage.getItem("token") || "";
  const response = await fetch("/debug/tree?format=text", { headers: { authorization: `Bearer ${token}` } });
  tree.textContent = response.ok ? await response.text() : (await response.json()).detail;
}

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", document.getElementById("token").value);
  show();
});
show();
