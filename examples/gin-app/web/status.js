// The state of the stream in the header, and below it a notice: why the page is not live, and
// what the user can do.

import { $ } from "./dom.js";

const STATES = { connecting: "Connecting…", live: "Live", reconnecting: "Reconnecting…", closed: "Signed out", stopped: "Not live" };
const SLOW = 10_000; // how long the page reconnects before it says why

let why = ""; // why the page reconnects
let slow = 0; // the timer of SLOW; -1 after it has fired
let onRetry = () => {};

// whenRetrying sets the function to call when the user wants to reconnect at once.
export const whenRetrying = (call) => { onRetry = call; };

// showState shows a state of the stream. The reason is that of sse.reconnect, or "".
export function showState(name, reason = "") {
  const shown = $("connection");
  const changed = shown.dataset.state !== name;
  if (changed) { // otherwise screen readers would read it again
    shown.dataset.state = name;
    shown.textContent = STATES[name];
    hideNotice();
  }
  if (name !== "reconnecting") return;
  why = reason;
  if (!slow) slow = setTimeout(() => { slow = -1; sayWhy(); }, SLOW);
  else if (slow === -1) sayWhy();
}

// showNotice shows a text until the state changes, with a button that calls act if there is one.
export function showNotice(text, label, act) {
  const [said, button] = $("notice").children;
  if (said.textContent !== text) said.textContent = text;
  button.textContent = label ?? "";
  button.hidden = !act;
  button.onclick = act ?? null;
  $("notice").hidden = false;
}

function hideNotice() {
  clearTimeout(slow);
  slow = 0;
  $("notice").hidden = true;
  $("notice").firstElementChild.textContent = "";
}

function sayWhy() {
  if (why === "throttled") showNotice("This account has reconnected too often. Live again in a moment.");
  else if (why === "overloaded") showNotice("The server is busy. Live again as soon as there is room.");
  else if (why === "shutdown") showNotice("The server is restarting. Live again in a moment.");
  else if (!navigator.onLine) showNotice("You are offline. Live again as soon as the network is back.");
  else showNotice("The server cannot be reached. Trying again…", "Try now", onRetry);
}

for (const type of ["online", "offline"]) addEventListener(type, () => { if (slow === -1) sayWhy(); });
