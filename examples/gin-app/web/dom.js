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

// time shows how long ago something was; tick keeps it right.
export function time(text) {
  const date = new Date(text);
  return element("time", { dateTime: text, title: date.toLocaleString(), textContent: ago(date) });
}
setInterval(() => {
  for (const node of document.querySelectorAll("time")) node.textContent = ago(new Date(node.dateTime));
}, 30_000);

// toast says something for a while. A click on it is an answer to it.
export function toast(text, act) {
  const note = element(act ? "button" : "p", { className: "toast" }, text);
  if (act) note.addEventListener("click", () => { note.remove(); act(); });
  $("toasts").append(note);
  setTimeout(() => note.remove(), 6000);
}
