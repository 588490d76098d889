// The state of the stream in the header. Below it, a notice says why the page is not live and
// what the user can do.

import { $ } from "./dom.js";

const STATES = { connecting: "Connecting…", live: "Live", reconnecting: "Reconnecting…", "signed-out": "Signed out", closed: "Not live" };
const NOTICE_DELAY = 10_000; // how long the page reconnects before the notice says why

let currentReason = ""; // why the page reconnects
let noticeTimer = 0; // 0 while the page is live; -1 after NOTICE_DELAY
let retry = () => {};

// onRetry sets the function to call when the user wants to reconnect at once.
export const onRetry = (call) => { retry = call; };

// showState shows a state of the stream, and why it is in this state.
export function showState(name, reason = "") {
  const connection = $("connection");
  const changed = connection.dataset.state !== name;
  if (changed) { // or screen readers would read it again
    connection.dataset.state = name;
    connection.textContent = STATES[name];
    hideNotice();
  }
  if (name !== "reconnecting") return;
  currentReason = reason;
  if (!noticeTimer) noticeTimer = setTimeout(() => { noticeTimer = -1; showReason(); }, NOTICE_DELAY);
  else if (noticeTimer === -1) showReason();
}

// showNotice shows a text until the state changes. If act is given, a button calls it.
export function showNotice(text, label, act) {
  const [paragraph, button] = $("notice").children;
  if (paragraph.textContent !== text) paragraph.textContent = text;
  button.textContent = label ?? "";
  button.hidden = !act;
  button.onclick = act ?? null;
  $("notice").hidden = false;
}

function hideNotice() {
  clearTimeout(noticeTimer);
  noticeTimer = 0;
  $("notice").hidden = true;
  $("notice").firstElementChild.textContent = "";
}

function showReason() {
  if (currentReason === "throttled") showNotice("This account has reconnected too often. Live again in a moment.");
  else if (currentReason === "overloaded") showNotice("The server is busy. Live again as soon as there is room.");
  else if (currentReason === "shutdown") showNotice("The server is restarting. Live again in a moment.");
  else if (!navigator.onLine) showNotice("You are offline. Live again as soon as the network is back.");
  else showNotice("The server cannot be reached. Trying again…", "Try now", retry);
}

for (const type of ["online", "offline"]) addEventListener(type, () => { if (noticeTimer === -1) showReason(); });
