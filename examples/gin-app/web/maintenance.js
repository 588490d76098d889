// The banner that announces a maintenance, until its time has come.

import { $ } from "./dom.js";

const CHECK_INTERVAL = 30_000; // a timer may be late after the sleep of a laptop

let timer = 0;

// showMaintenance shows a text until a time. Without a text it hides the banner.
export function showMaintenance({ text, until }) {
  clearTimeout(timer);
  const left = Date.parse(until) - Date.now();
  const shown = text && left > 0 ? text : "";
  const node = $("maintenance");
  if (node.textContent !== shown) node.textContent = shown; // or screen readers would read it again
  if (shown) timer = setTimeout(() => showMaintenance({ text, until }), Math.min(left, CHECK_INTERVAL));
}
