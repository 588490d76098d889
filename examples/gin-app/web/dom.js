// What all parts of the page make of elements. Text from people goes in as text.

export const $ = (id) => document.getElementById(id);

// element makes an element with properties and children; strings become text.
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

// time shows how long ago something was, and goes on to be right.
export function time(text) {
  const date = new Date(text);
  return element("time", { dateTime: text, title: date.toLocaleString(), textContent: ago(date) });
}
setInterval(() => {
  for (const node of document.querySelectorAll("time")) node.textContent = ago(new Date(node.dateTime));
}, 30_000);

const TOAST_TIME = 6000;
const MOST_TOASTS = 4; // who was away for long need not read them one by one

const tags = new WeakMap(); // of toasts

// toast shows content for a while, and longer while it is hovered or has the focus. A click
// removes it and calls act. A toast replaces another one with the same tag.
export function toast(content, { act, tag } = {}) {
  const note = element(act ? "button" : "p", { className: "toast" }, ...[content].flat());
  const linger = () => setTimeout(() => { if (note.matches(":hover, :focus")) linger(); else note.remove(); }, TOAST_TIME);
  if (act) note.addEventListener("click", () => { note.remove(); act(); });
  if (tag !== undefined) dismiss((other) => other === tag);
  tags.set(note, tag);
  const toasts = $("toasts");
  if (toasts.children.length >= MOST_TOASTS) toasts.querySelector(".toast:not(:hover, :focus)")?.remove();
  toasts.append(note);
  linger();
}

// dismiss removes the toasts for whose tag done returns true.
export function dismiss(done) {
  for (const note of [...$("toasts").children]) {
    if (!done(tags.get(note))) continue;
    const focused = note.contains(document.activeElement);
    note.remove();
    if (focused) $("main").focus(); // otherwise the focus is lost
  }
}

// announce says something to those who listen to the page.
export function announce(text) { $("announcement").textContent = text; }
