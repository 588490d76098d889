// The page. The server's answers say what is true; the event stream says when to
// look, or brings what is new. Both may bring the same thing, in any order, so
// everything is kept by its ID. All text from people goes in as textContent.

const $ = (id) => document.getElementById(id);

const PAGE = 20;
const KINDS = { like: "👍", love: "❤️", laugh: "😄" };

let me = null; // {id, name} while signed in
let openPost = null; // the PostView that shows its comments
const posts = new Map(); // PostView by post ID
const notifications = new Map(); // by ID

// ---- Requests ----

class APIError extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

async function api(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  const answer = response.status === 204 ? null : await response.json();
  if (response.ok) return answer;
  const { code, message } = answer.error;
  if (response.status === 401 && code !== "wrong_credentials") signedOut();
  throw new APIError(response.status, code, message);
}

// attempt runs what a click or a form asked for, and shows what went wrong.
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    if (me) toast(error.message);
    return undefined;
  }
}

// ---- The event stream ----

const POSITION = "lastEventId"; // in sessionStorage: survives a reload of this tab
const FIRST_DELAY = 1000;
const LONGEST_DELAY = 30000;

let source = null;
let delay = FIRST_DELAY;
let timer = 0;

// connect opens the stream anew, from where this tab has read to. An EventSource
// reconnects by itself, with the last event ID it has, as long as it is not
// CLOSED; a new one, after a reload or for another post, must be told the ID.
function connect() {
  disconnect();
  if (!me) return;
  const url = new URL("/events", location.href);
  if (openPost) url.searchParams.set("post", openPost.id);
  const position = sessionStorage.getItem(POSITION);
  if (position) url.searchParams.set("lastEventId", position);

  show("connecting");
  const opened = new EventSource(url);
  source = opened;
  const on = (type, handle) =>
    opened.addEventListener(type, (event) => {
      if (opened !== source) return; // an event of a stream that was replaced
      if (event.lastEventId) sessionStorage.setItem(POSITION, event.lastEventId);
      handle(JSON.parse(event.data));
    });

  on("sse.open", ({ resumed }) => {
    delay = FIRST_DELAY;
    show("live");
    // A stream that was not resumed begins now: what came before is in the store.
    if (!resumed || wanted) refetch();
  });
  on("sse.gap", refetch);
  on("sse.close", ({ reason, reconnect }) => {
    if (reconnect) return; // the EventSource does, when the connection ends
    disconnect();
    if (reason === "signed out") signedOut();
  });
  on("comment", (notice) => arrived({ ...notice, type: "comment" }));
  on("reaction", (notice) => arrived({ ...notice, type: "reaction" }));
  on("notifications.read", ({ up_to }) => markRead(up_to));
  on("post.comment", (comment) => posts.get(comment.post_id)?.addComment(comment));

  opened.onerror = () => {
    if (opened !== source) return;
    show("connecting");
    if (opened.readyState !== EventSource.CLOSED) return; // it is reconnecting
    // Any answer but 200 is final to an EventSource. api finds out whether the
    // session has ended; otherwise the server may be well again later.
    disconnect();
    show("waiting");
    timer = setTimeout(async () => {
      await api("GET", "/api/me").catch(() => {});
      connect();
    }, delay * (0.5 + Math.random()));
    delay = Math.min(2 * delay, LONGEST_DELAY);
  };
}

function disconnect() {
  clearTimeout(timer);
  source?.close();
  source = null;
  show("closed");
}

function show(state) {
  $("connection").dataset.state = state;
  $("connection").textContent = { closed: me ? "closed" : "signed out", waiting: "waiting to reconnect", connecting: "connecting", live: "live" }[state];
}

// refetch gets what the page shows from the server. Calls while one is under way
// become one more; after a failure the next sse.open asks again. What the stream
// brings meanwhile may be newer than the answers, so they only add.
let fetching = false;
let wanted = false;
async function refetch() {
  wanted = true;
  if (fetching) return;
  fetching = true;
  try {
    while (wanted && me) {
      wanted = false;
      const who = me;
      const [feed, inbox] = await Promise.all([api("GET", `/api/posts?limit=${PAGE}`), api("GET", "/api/notifications")]);
      if (me !== who) continue; // somebody else has signed in
      addPage(feed.posts);
      for (const one of inbox.notifications) {
        notifications.set(one.id, { ...one, read: one.read || Boolean(notifications.get(one.id)?.read) });
      }
      renderNotifications();
      await openPost?.refresh();
    }
  } catch (error) {
    wanted = true;
    if (me) toast(error.message);
  } finally {
    fetching = false;
  }
}

// ---- Signing in and out ----

async function start() {
  try {
    me = (await api("GET", "/api/me")).user;
  } catch {
    return signedOut();
  }
  signedIn();
}

function signedIn() {
  $("who").textContent = me.name;
  $("welcome").hidden = true;
  $("home").hidden = $("sign-out").hidden = $("more").hidden = false;
  newest = 0;
  refetch();
  connect();
}

function signedOut() {
  me = null;
  disconnect();
  sessionStorage.removeItem(POSITION);
  openPost = null;
  posts.clear();
  notifications.clear();
  for (const id of ["posts", "notifications", "toasts", "who"]) $(id).replaceChildren();
  $("home").hidden = $("sign-out").hidden = true;
  $("welcome").hidden = false;
  document.title = "gin-app";
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const problem = form.querySelector(".error");
  problem.textContent = "";
  try {
    const path = event.submitter?.name === "new" ? "/api/users" : "/api/session";
    me = (await api("POST", path, { name: form.elements.name.value, password: form.elements.password.value })).user;
    form.reset();
    signedIn();
  } catch (error) {
    problem.textContent = error.message;
  }
});

$("sign-out").addEventListener("click", () => attempt(async () => {
  await api("DELETE", "/api/session");
  signedOut();
}));

// A page that is open is in use: its session is renewed by being used.
setInterval(() => me && attempt(() => api("GET", "/api/me")), 5 * 60 * 1000);

// ---- Posts ----

// element makes an element with properties and children; strings become text.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const time = (text) => element("time", { dateTime: text, textContent: new Date(text).toLocaleTimeString() });

class PostView {
  constructor(post) {
    this.id = post.id;
    this.comments = new Set(); // IDs
    this.buttons = {};
    const reactions = Object.keys(KINDS).map((kind) => {
      const button = element("button", { type: "button", className: "reaction", title: kind });
      button.addEventListener("click", () => attempt(() => this.react(kind)));
      return (this.buttons[kind] = button);
    });
    this.toggle = element("button", { type: "button", className: "toggle" });
    this.toggle.addEventListener("click", () => attempt(() => this.open(openPost !== this)));
    this.list = element("ol", { className: "comments" });
    const field = element("input", { name: "body", maxLength: 1000, required: true, placeholder: "Comment", ariaLabel: "Comment" });
    const form = element("form", {}, field, element("button", {}, "Send"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(async () => {
        this.addComment(await api("POST", `/api/posts/${this.id}/comments`, { body: field.value }));
        field.value = "";
      });
    });
    this.details = element("div", { hidden: true }, this.list, form);
    this.node = element("article", {},
      element("p", { className: "byline" }, element("b", {}, post.author.name), " ", time(post.created_at)),
      element("p", { className: "body" }, post.body),
      element("p", { className: "bar" }, ...reactions, this.toggle),
      this.details);
    this.node.dataset.post = post.id;
    this.update(post);
  }

  update(post) {
    this.post = post;
    for (const [kind, button] of Object.entries(this.buttons)) {
      button.textContent = `${KINDS[kind]} ${post.reactions[kind]}`;
      button.ariaPressed = String(post.my_reactions.includes(kind));
    }
    this.toggle.textContent = `${post.comment_count} comment${post.comment_count === 1 ? "" : "s"}`;
    post.comments?.forEach((comment) => this.addComment(comment));
  }

  async refresh() {
    this.update(await api("GET", `/api/posts/${this.id}`));
  }

  // open shows or hides the comments. The stream is opened anew, with or without
  // the topic of the post, from where it was; so nothing is missed in between.
  async open(opening) {
    if (openPost) openPost.details.hidden = true;
    openPost = opening ? this : null;
    this.details.hidden = !opening;
    connect();
    if (opening) await this.refresh();
  }

  async react(kind) {
    if (this.post.my_reactions.includes(kind)) await api("DELETE", `/api/posts/${this.id}/reactions/${kind}`);
    else await api("POST", `/api/posts/${this.id}/reactions`, { kind });
    await this.refresh();
  }

  addComment(comment) {
    if (this.comments.has(comment.id)) return;
    this.comments.add(comment.id);
    const item = element("li", {}, element("b", {}, comment.author.name), " ", comment.body);
    item.dataset.comment = comment.id;
    const next = [...this.list.children].find((other) => Number(other.dataset.comment) > comment.id);
    this.list.insertBefore(item, next ?? null);
    if (this.comments.size > this.post.comment_count) this.update({ ...this.post, comments: undefined, comment_count: this.comments.size });
  }
}

// addPost shows a post, or its new state: newest first.
function addPost(post) {
  if (posts.has(post.id)) return posts.get(post.id).update(post);
  const view = new PostView(post);
  const older = Math.max(...[...posts.keys()].filter((id) => id < post.id));
  posts.set(post.id, view);
  $("posts").insertBefore(view.node, posts.get(older)?.node ?? null);
}

// addPage shows posts as the API lists them. Where a full page does not reach
// down to what was fetched before, what is older goes: it can be asked for again,
// and posts missing in between could not be seen to be.
let newest = 0;
function addPage(page) {
  if (page.length < PAGE) $("more").hidden = true;
  else if (page.at(-1).id > newest) {
    for (const view of [...posts.values()].filter(({ id }) => id < page.at(-1).id)) {
      if (view === openPost) view.open(false);
      view.node.remove();
      posts.delete(view.id);
    }
    $("more").hidden = false;
  }
  newest = Math.max(newest, ...page.map(({ id }) => id));
  page.forEach(addPost);
}

$("write").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(async () => {
    addPost(await api("POST", "/api/posts", { body: form.elements.body.value }));
    form.reset();
  });
});

$("more").addEventListener("click", () => attempt(async () =>
  addPage((await api("GET", `/api/posts?limit=${PAGE}&before=${Math.min(...posts.keys())}`)).posts)));

// ---- Notifications ----

function arrived(notice) {
  if (notifications.has(notice.id)) return; // seen already, in the list or before
  notifications.set(notice.id, { ...notice, read: false });
  renderNotifications();
  toast(describe(notice));
  if (posts.has(notice.post_id)) attempt(() => posts.get(notice.post_id).refresh());
}

function markRead(upTo) {
  for (const one of notifications.values()) if (one.id <= upTo) one.read = true;
  renderNotifications();
}

function describe(notice) {
  return notice.type === "comment"
    ? `${notice.actor.name} commented: ${notice.body}`
    : `${notice.actor.name} reacted: ${KINDS[notice.kind] ?? notice.kind}`;
}

function renderNotifications() {
  const list = [...notifications.values()].sort((a, b) => b.id - a.id);
  const unread = list.filter((one) => !one.read).length;
  $("notifications").replaceChildren(...list.map((one) =>
    element("li", { className: one.read ? "" : "unread" }, describe(one), " ", time(one.created_at))));
  $("nothing").hidden = list.length > 0;
  $("unread").textContent = unread;
  $("read").disabled = unread === 0;
  document.title = unread > 0 ? `(${unread}) gin-app` : "gin-app";
}

$("read").addEventListener("click", () => attempt(async () => {
  markRead((await api("POST", "/api/notifications/read", { up_to: Math.max(...notifications.keys()) })).up_to);
}));

function toast(text) {
  const note = element("p", {}, text);
  $("toasts").append(note);
  setTimeout(() => note.remove(), 6000);
}

// ---- Start ----

addEventListener("online", () => me && source === null && connect());
addEventListener("pageshow", (event) => event.persisted && me && connect());
start();
