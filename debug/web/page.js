// The live page of an operator. It shows what the event "view" of its stream has, once a second, and
// shows all texts as text.
import { chart } from "./chart.js";

const $ = (selector, within = document) => within.querySelector(selector);

const el = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// plain shows the characters that cannot be seen, or that turn the direction of text. With them, a user ID or an
// error could look like another one, and turn the words after it around.
const plain = (text) => text.replace(/\p{Default_Ignorable_Code_Point}/gu, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);

// set changes a text only if it differs, so that a selection and a screen reader are not disturbed.
const set = (element, text) => {
  const shown = plain(text);
  if (element.textContent !== shown) element.textContent = shown;
};

const number = (n) => n.toLocaleString("en");

const bytes = (n) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; n >= 1000 && unit < units.length - 1; unit++) n /= 1000;
  return `${unit && n < 10 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
};

const delay = (microseconds) => {
  if (microseconds < 1000) return `${Math.round(microseconds)} µs`;
  const [value, unit] = microseconds < 1e6 ? [microseconds / 1000, "ms"] : [microseconds / 1e6, "s"];
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
};

const age = (now, since) => {
  const seconds = Math.max(0, Math.round((Date.parse(now) - Date.parse(since)) / 1000));
  const [d, h, m] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${seconds % 60} s` : `${seconds} s`;
};

const clock = (time) => new Date(time).toLocaleTimeString("en-GB");

// short is enough of a stream's ID to tell it from others.
const short = (id) => id.slice(0, 8);

// fill makes the rows of a table those of a list. A row that stays is the same element, so it keeps the
// focus.
function fill(table, list, keyOf, make) {
  const body = table.tBodies[0];
  const rows = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const wanted = new Map(list.map((item) => [keyOf(item), item]));
  for (const [key, row] of rows) if (!wanted.has(key)) row.remove();
  let at = body.firstElementChild;
  for (const [key, item] of wanted) {
    let row = rows.get(key);
    if (!row) {
      row = el("tr", { role: "row" });
      row.dataset.key = key;
      row.update = make(row, item);
    }
    row.update?.(item);
    if (row === at) at = at.nextElementSibling;
    else body.insertBefore(row, at);
  }
}

// cells adds the cells of a row, one for each column. A cell says the name of its column on a phone.
function cells(row, ...contents) {
  const columns = document.querySelectorAll(`#${row.dataset.table} thead th`);
  return contents.map((content, i) => {
    const cell = el("td", { role: "cell", className: columns[i].className });
    cell.dataset.column = columns[i].textContent;
    cell.append(typeof content === "string" ? plain(content) : content);
    row.append(cell);
    return cell;
  });
}

const makeRow = (table, make) => (row, item) => {
  row.dataset.table = table;
  return make(row, item);
};

// The stream

const connection = $("#connection");
const pause = $("#pause");
const [userFilter, topicFilter, streamFilter] = ["user", "topic", "stream"].map((name) => $(`[name=only-${name}]`));
let source;
let heard = 0; // when the last view came
let retry;

function say(state, text) {
  connection.dataset.state = state;
  set(connection, text);
}

function look() {
  clearTimeout(retry);
  source?.close();
  source = undefined;
  if (pause.ariaPressed === "true") return say("paused", "Paused");
  if (document.hidden) return say("paused", "Paused: the page is not visible");
  const query = new URLSearchParams([...new FormData($("#filter")), ...new FormData($("#follow"))].filter(([, value]) => value));
  const opened = (source = new EventSource(`stream?${query}`));
  opened.addEventListener("view", ({ data }) => {
    heard = Date.now();
    show(JSON.parse(data));
  });
  opened.addEventListener("error", () => {
    if (opened !== source) return;
    say("broken", "Not connected: trying again");
    if (opened.readyState === EventSource.CLOSED) refused();
  });
}

// refused finds out why there is no stream: an EventSource does not say.
async function refused() {
  let status = 0;
  try {
    status = (await fetch("icon.svg", { cache: "no-store", redirect: "error" })).status;
  } catch {
    // the server does not answer
  }
  if (status === 401 || status === 403) say("broken", "You may not look any more: reload the page to sign in");
  else if (status === 200) say("broken", "Not connected: too many pages look at this node, or it is shutting down");
  retry = setTimeout(look, 3000);
}

setInterval(() => {
  if (connection.dataset.state === "live" && Date.now() - heard > 5000) say("broken", `No news for ${Math.round((Date.now() - heard) / 1000)} s`);
}, 1000);
document.addEventListener("visibilitychange", look);
pause.addEventListener("click", () => {
  pause.ariaPressed = String(pause.ariaPressed !== "true");
  look();
});

// What it shows

const tiles = Object.fromEntries([
  ["streams", "Streams"], ["users", "Users"], ["slowest", "Most behind"], ["p50", "Delivery, p50"],
  ["p99", "Delivery, p99"], ["append", "Append, p99"], ["head", "Head of the log"], ["nodes", "Nodes"],
].map(([name, title]) => {
  const value = el("dd", { textContent: "–" });
  value.dataset.tile = name;
  const note = el("dd", { className: "note" });
  $("#tiles").append(el("div", {}, el("dt", { textContent: title }), value, note));
  return [name, (text, more = "") => {
    set(value, text);
    set(note, more);
  }];
}));

const charts = {
  opened: chart("Opened, and ended (dashed)", ["opened", "ended"], number),
  sent: chart("Events sent", ["sent"], number),
  delivered: chart("Events written", ["delivered"], number),
  delay: chart("Delivery delay, p99", ["p99"], (p99) => (p99 ? delay(p99) : "–")),
};
$("#charts").append(...Object.values(charts).map(({ figure }) => figure));

const counts = Object.fromEntries([
  ["resumes", "Opened, by how", "No stream has opened."], ["ends", "Ended, by reason", "No stream has ended."],
  ["refusals", "Refused, by cause", "No stream was refused."], ["gaps", "Gaps, by reason", "No client was told that it misses events."],
].map(([name, title, none]) => {
  const list = el("dl");
  const empty = el("p", { className: "note", textContent: none });
  $("#counts").append(el("div", {}, el("h3", { textContent: title }), list, empty));
  return [name, (items) => {
    empty.hidden = items.length > 0;
    while (list.children.length > items.length) list.lastElementChild.remove();
    while (list.children.length < items.length) list.append(el("div", {}, el("dt"), el("dd")));
    items.forEach((item, i) => {
      set(list.children[i].firstElementChild, item.name);
      set(list.children[i].lastElementChild, number(item.count));
    });
  }];
}));

let latest; // the view that is shown

function show(view) {
  latest = view;
  const [own] = view.nodes;
  say("live", `Live: ${own?.name ?? "this node"}`);

  const problems = $("#problems");
  $("#unknown").hidden = true;
  problems.dataset.state = view.problems.length ? "bad" : "good";
  const list = $("ul", problems);
  while (list.children.length > view.problems.length) list.lastElementChild.remove();
  while (list.children.length < view.problems.length) list.append(el("li"));
  view.problems.forEach((text, i) => set(list.children[i], text));
  $(".none", problems).hidden = view.problems.length > 0;
  set($("[role=status]", problems), `${view.problems.length || "no"} problems`); // the texts change too often to be read out

  tiles.streams(number(view.streams), view.compact ? `${number(view.compact)} compact` : "");
  tiles.users(number(view.users));
  tiles.slowest(number(view.lag.slowest), view.lag.over_1000 ? `${number(view.lag.over_1000)} over 1,000` : view.lag.over_100 ? `${number(view.lag.over_100)} over 100` : "events");
  tiles.p50(view.delivery.count ? delay(view.delivery.p50) : "–", "last minute");
  tiles.p99(view.delivery.count ? delay(view.delivery.p99) : "–", "last minute");
  tiles.append(view.appends.count ? delay(view.appends.p99) : "–", "last minute");
  const bad = view.nodes.filter((node) => node.log_error).length;
  tiles.head(number(view.head), bad ? `not ready on ${bad} of ${view.nodes.length}` : "ready");
  tiles.nodes(number(view.nodes.length), view.runs ? `${number(view.runs)} runs` : "");

  const { series } = view;
  if (series.opened) {
    charts.opened.show(series.opened, series.ended);
    charts.sent.show(series.sent);
    charts.delivered.show(series.delivered);
    charts.delay.show(series.delay);
  }
  for (const [name, fillCounts] of Object.entries(counts)) fillCounts(view[name]);

  fill($("#streams"), view.rows, (row) => row.stream, makeRow("streams", streamRow));
  set($("#rows"), view.rows.length ? rowsText(view) : "No stream is open that the filter lets through.");
  fill($("#history"), view.entries, (entry) => `${entry.at} ${entry.stream} ${entry.what} ${entry.detail} ${entry.node}`, makeRow("history", historyRow));
  fill($("#nodes"), view.nodes, (node) => node.node, makeRow("nodes", nodeRow));
}

function rowsText(view) {
  const all = userFilter.value || topicFilter.value ? "" : ` of ${number(view.streams)}`;
  return `${number(view.rows.length)}${all} shown. The streams of this page are not among them.`;
}

function streamRow(row, { user, stream }) {
  const only = button(user, `Show only ${user}`, () => {
    userFilter.value = user;
    look();
  });
  const follow = button(short(stream), `Follow stream ${stream}`, () => followStream(stream));
  const actions = el("div", { className: "actions" },
    button("Send…", `Send ${user} a test event`, () => open("send", user)),
    button("Disconnect…", `Disconnect ${user}`, () => open("disconnect", user)));
  only.className = follow.className = "link";
  const [, , node, since, behind, events, size, topics] = cells(row, only, follow, "", "", "", "", "", "", actions);
  return (item) => {
    set(node, item.node);
    set(since, age(latest.now, item.opened));
    set(behind, number(item.lag));
    row.dataset.lag = item.lag > 1000 ? "much" : item.lag > 100 ? "some" : "none";
    set(events, number(item.events));
    set(size, bytes(item.bytes));
    const names = (item.topics ?? []).join(", ") + (item.more ? ` and ${item.more} more` : "");
    set(topics, item.compact ? `${names}${names && " · "}compact` : names);
    row.ariaCurrent = String(stream === streamFilter.value);
  };
}

function historyRow(row, { at, what, user = "", stream, detail = "", node }) {
  let follow = "";
  if (stream) {
    follow = button(short(stream), `Follow stream ${stream}`, () => followStream(stream));
    follow.className = "link";
  }
  const time = el("time", { dateTime: at, textContent: clock(at) });
  row.dataset.what = what;
  cells(row, time, what, user, follow, detail, node);
}

function nodeRow(row) {
  const [name, up, streams, users, opened, behind, head, memory, log] = cells(row, "", "", "", "", "", "", "", "", "");
  return (node) => {
    const known = node.started > "1";
    set(name, node.name + (node === latest.nodes[0] ? " (this page)" : ""));
    set(up, known ? age(latest.now, node.started) : "–");
    set(streams, number(node.streams));
    set(users, number(node.users));
    set(opened, number(node.opened));
    set(behind, number(node.slowest));
    set(head, number(node.head));
    set(memory, node.log ? memoryText(node.log) : "–");
    row.dataset.state = node.log_error ? "bad" : "good";
    const since = node.log_since ? ` for ${age(latest.now, node.log_since)}` : "";
    set(log, !known ? "no figures" : node.log_error ? `not ready${since}: ${node.log_error}` : `ready${since}`);
  };
}

// memoryText says what a node has of the log in memory, how far back that reaches, and what has left it.
function memoryText({ entries, bytes: size, max_bytes, since, evicted }) {
  const reach = since > "1" ? `, back ${age(latest.now, since)}` : "";
  const reasons = Object.entries(evicted).filter(([, n]) => n).map(([reason, n]) => `${reason} ${number(n)}`).join(", ");
  return `${number(entries)} events, ${bytes(size)} of ${bytes(max_bytes)}${reach}${reasons && `; evicted: ${reasons}`}`;
}

function button(text, title, action) {
  const made = el("button", { type: "button", textContent: plain(text), title: plain(title), ariaLabel: plain(title) });
  made.addEventListener("click", action);
  return made;
}

// Filters

function followStream(id) {
  streamFilter.value = id;
  look();
  followed();
  $("#history-title").scrollIntoView({ block: "start" });
}

function followed() {
  const stream = streamFilter.value;
  const user = userFilter.value;
  set($("#followed"), stream ? `Only stream ${stream}.` : user ? `Only ${user}.` : "The newest of all streams.");
}

for (const form of document.querySelectorAll("#filter, #follow")) {
  const apply = () => {
    look();
    followed();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  form.addEventListener("reset", () => setTimeout(apply)); // the fields are empty then
  form.addEventListener("change", ({ target }) => { // what was typed or chosen, and no click on an ID
    target.value = target.value.trim();
    if (target.tagName === "SELECT") apply();
  });
}

// Actions

function open(name, user) {
  const dialog = $(`#${name}`);
  $("form", dialog).reset();
  set($(".who", dialog), user);
  dialog.dataset.user = user;
  set($(".result", dialog), "");
  dialog.showModal();
}

function act(name, body) {
  const dialog = $(`#${name}`);
  const result = $(".result", dialog);
  const submit = $("[type=submit]", dialog);
  $(".close", dialog).addEventListener("click", () => dialog.close());
  $("form", dialog).addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    set(result, "…");
    try {
      const response = await fetch(name, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Ginsse-Debug": "1" },
        body: JSON.stringify({ user: dialog.dataset.user, ...body(new FormData(event.target)) }),
      });
      const answer = await response.json().catch(() => ({}));
      set(result, answer.message ?? `The server has refused it, with status ${response.status}.`);
    } catch {
      set(result, "The server does not answer.");
    } finally {
      submit.disabled = false;
    }
  });
}

act("disconnect", (form) => ({ reason: form.get("kind") || form.get("reason") }));
act("send", (form) => ({ type: form.get("type"), data: form.get("data") }));
$("#disconnect [name=reason]").addEventListener("input", () => { $("#disconnect [value='']").checked = true; });

followed();
look();
