// Helpers for elements. Strings always become text nodes, so texts of users cannot be HTML.

export const $ = (id) => document.getElementById(id);

// element creates an element with properties and children. A string becomes a text node.
export function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto", style: "short" });
const units = [["day", 86_400], ["hour", 3600], ["minute", 60]];

function ago(date) {
  const seconds = (date - Date.now()) / 1000;
  const [unit, size] = units.find(([, size]) => -seconds >= size) ?? ["second", 1];
  if (unit === "second") return "just now";
  return -seconds > 7 * 86_400 ? date.toLocaleDateString() : relative.format(Math.round(seconds / size), unit);
}

// time creates an element that shows how long ago a time was. The timer below keeps it current.
export function time(text) {
  const date = new Date(text);
  return element("time", { dateTime: text, title: date.toLocaleString(), textContent: ago(date) });
}
setInterval(() => {
  for (const node of document.querySelectorAll("time")) node.textContent = ago(new Date(node.dateTime));
}, 30_000);

const TOAST_TIME = 6000;
const MAX_TOASTS = 4; // after a long absence there may be many

const tags = new WeakMap(); // from toast to tag

// toast shows content for TOAST_TIME, and longer while it is hovered or has the focus. A click
// removes the toast and calls onClick. A new toast replaces one with the same tag.
export function toast(content, { onClick, tag } = {}) {
  const note = element(onClick ? "button" : "p", { className: "toast" }, ...[content].flat());
  const removeLater = () => setTimeout(() => { if (note.matches(":hover, :focus")) removeLater(); else note.remove(); }, TOAST_TIME);
  if (onClick) note.addEventListener("click", () => { note.remove(); onClick(); });
  if (tag !== undefined) dismiss((other) => other === tag);
  tags.set(note, tag);
  const toasts = $("toasts");
  if (toasts.children.length >= MAX_TOASTS) toasts.querySelector(".toast:not(:hover, :focus)")?.remove();
  toasts.append(note);
  removeLater();
}

// dismiss removes all toasts for which matches(tag) returns true.
export function dismiss(matches) {
  for (const note of [...$("toasts").children]) {
    if (!matches(tags.get(note))) continue;
    const focused = note.contains(document.activeElement);
    note.remove();
    if (focused) $("main").focus(); // or the focus would be lost
  }
}

// announce has screen readers read a text.
export function announce(text) { $("announcement").textContent = text; }
