// The page: it keeps the signed-in user, and connects the stream to the parts of the page.

import { control } from "/control.js";
import { connect } from "/ginsse.js";
import { api, beginSession, endSession, onAnswer, onSessionLost, SessionOver } from "./api.js";
import { $, dismiss, element, toast } from "./dom.js";
import { Feed } from "./feed.js";
import { Inbox } from "./inbox.js";
import { showMaintenance } from "./maintenance.js";
import { Readers } from "./readers.js";
import { onRetry, showNotice, showState } from "./status.js";
import { coalesce, ignoreWhileBusy } from "./work.js";

let me = null; // {id, name} while signed in

// attempt runs an action of the user, and shows its error in a toast.
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof SessionOver)) toast(element("span", { className: "brief" }, error.message), { tag: error.code });
    return undefined;
  }
}

// removeOfflineToasts removes the toasts which say that the server cannot be reached.
const removeOfflineToasts = () => dismiss((tag) => tag === "offline");
onAnswer(removeOfflineToasts);

let stream = null; // of the signed-in user
let readers = null; // by that stream

// openStream opens the event stream of the user. All tabs of the user share one connection. The
// server refuses it if the cookie is that of another user. Topics change by POST requests to the
// same address.
function openStream(user) {
  const address = `/events?user=${user.id}`;
  stream = connect(address, {
    identity: user.id,
    topics: ["feed"],
    control: control(address),
    auth: async () => (await api("GET", "/api/session")).user?.id === user.id, // this also renews the cookie
  });
  for (const type of ["comment", "reaction"]) stream.on(type, (data) => {
    inbox.arrived({ ...data, type });
    feed.refresh(data.post_id).catch(refetchLater);
  });
  stream.on("post", (post) => feed.arrived(post));
  stream.on("post.comment", (comment) => feed.commented(comment));
  stream.on("unread", (state) => inbox.setReadState(state));
  stream.on("typing", (data) => feed.typing(data));
  stream.on("maintenance", showMaintenance);
  readers = new Readers(stream, user.id, (changed) => { if (changed === topic) showReaders(); });
  stream.onStale(() => refetch());
  stream.onState((state, detail) => { if (me === user) streamChanged(state, detail); });
}

async function streamChanged(state, { reason, status }) {
  if (state === "closed" && reason === "signed out") return signedOut(signingOut ? "" : ELSEWHERE);
  if (state === "signed-out" || status === 409) { // the session has ended, or is another user's
    const mine = stream;
    await checkSession();
    if (stream !== mine || stream.state !== state) return;
  }
  if (state !== "closed" && state !== "signed-out") showState(state, reason);
  else showEnd(reason);
  if (state !== "live") return;
  removeOfflineToasts();
  if (refetchNeeded) refetch(); // an earlier attempt failed
}

// showEnd shows that the stream has ended, until the user asks for it again.
function showEnd(reason) {
  showState("closed");
  const text = reason === "replaced" ? "This account is open in too many tabs."
    : `The server has ended the live updates${["disconnected", "refused"].includes(reason) ? "" : `: ${reason}`}.`;
  showNotice(text, "Go live here", () => stream.reconnect());
}

onRetry(() => stream?.reconnect());

let topic = null; // of the open post

// watch has the stream read the topic of a post, or of none if it is null. What other tabs watch
// arrives here as well.
function watch(post) {
  if (!stream) return;
  if (topic) stream.topics.delete(topic);
  topic = post && `post:${post}`;
  if (!topic) return;
  // The post fetches its comments now, and again when the stream reads the topic: a comment from
  // in between may be neither in the first response nor an event.
  const refresh = () => feed.refresh(post).catch(refetchLater);
  stream.topics.add(topic).then(refresh, () => {}); // an error says that the stream has ended
  showReaders(); // another tab may have the post open
}

const showReaders = () => feed.open?.showReaders(readers.describe(topic));

// typed tells the others who have a post open that the user is writing a comment. If it fails, they
// do not see it.
const typed = (post) => api("POST", `/api/posts/${post}/typing`, null, { "Stream-ID": stream.id }).catch(() => {});

const feed = new Feed({ attempt, opened: watch, typed });

const inbox = new Inbox({ attempt, show: (notification) => attempt(async () => {
  const focused = document.activeElement;
  const post = await feed.show(notification.post_id);
  if ([focused, document.body].includes(document.activeElement)) post?.reveal(notification); // unless the user has moved on
}) });

// refetch gets everything that the page shows from the server. After an error it tries again
// later, or as soon as the stream is live again.
let refetchNeeded = false;
const refetch = coalesce(async () => {
  clearTimeout(refetchTimer);
  if (!me) return;
  refetchNeeded = true;
  $("home").ariaBusy = "true";
  try {
    await Promise.all([feed.refetch(), inbox.refetch()]);
    refetchNeeded = false;
    refetchDelay = FIRST_DELAY;
  } catch (error) {
    refetchLater(error);
  } finally {
    $("home").ariaBusy = "false";
  }
});

const FIRST_DELAY = 2000;
const LONGEST_DELAY = 30_000;
let refetchDelay = FIRST_DELAY;
let refetchTimer = 0;

function refetchLater(error) {
  if (error instanceof SessionOver) return;
  refetchNeeded = true;
  clearTimeout(refetchTimer);
  refetchTimer = setTimeout(refetch, refetchDelay * (0.5 + Math.random()));
  refetchDelay = Math.min(2 * refetchDelay, LONGEST_DELAY);
}

// The reasons why the page shows the sign-in form again.
const ELSEWHERE = "You were signed out, in another tab or on another device.";
const EXPIRED = "Your session has ended. Please sign in again.";

let lastUser = "";

function signedIn(user) {
  if (me) clearUser(); // another user has signed in, with the same cookie
  me = user;
  beginSession(user.id);
  feed.viewer = user.id;
  if (lastUser !== user.id) $("new-post").reset(); // a draft belongs to its author
  lastUser = user.id;
  $("user-name").textContent = $("user-name").title = me.name;
  for (const id of ["home", "account"]) $(id).hidden = false;
  $("welcome").hidden = true;
  $("sign-in").reset();
  $("sign-in").querySelector(".error").textContent = "";
  refetch(); // a stream that resumes is not stale
  openStream(user);
}

function clearUser() {
  me = null;
  clearTimeout(refetchTimer);
  endSession();
  stream?.close();
  stream = readers = topic = null;
  showMaintenance({});
  feed.clear();
  inbox.clear();
  $("toasts").replaceChildren();
  $("announcement").textContent = "";
}

// signedOut shows the sign-in form with a reason, which is "" after a sign-out in this tab.
function signedOut(reason) {
  clearUser();
  showState("signed-out");
  for (const id of ["home", "account"]) $(id).hidden = true;
  $("welcome").hidden = false;
  $("signed-out-reason").textContent = reason;
  $("sign-in").elements.name.focus();
  showDemo();
}

// showDemo shows the names and the password of the demo users, if there are any.
async function showDemo() {
  const { people, password } = await api("GET", "/api/demo").catch(() => ({ people: [] }));
  if (people.length === 0) return;
  $("demo").textContent = `In the demo: ${people.join(", ")}, with password “${password}”. Sign in as another in a private window.`;
}

// All tabs share one cookie, so signing in or out in one tab does so in all of them.
const tabs = new BroadcastChannel("session");
tabs.onmessage = ({ data }) => checkSession(data === "signed out" ? ELSEWHERE : EXPIRED);

// checkSession asks the server for the user of the session, and shows the page of that user. The
// request also renews the session. If there is no session, checkSession shows the sign-in form
// with the reason. It never fails: a page that shows nothing yet tries again after an error.
let sessionTimer = 0;
let signedOutReason = EXPIRED;
function checkSession(reason = EXPIRED) {
  signedOutReason = reason;
  return requestSession();
}
const requestSession = coalesce(async () => {
  try {
    const { user } = await api("GET", "/api/session");
    if (user && user.id !== me?.id) {
      const switched = me !== null;
      signedIn(user);
      if (switched) announceUser();
    } else if (!user && (me || $("welcome").hidden)) signedOut(me ? signedOutReason : "");
  } catch (error) {
    if (me || error instanceof SessionOver || !$("welcome").hidden) return;
    showState("reconnecting");
    clearTimeout(sessionTimer);
    sessionTimer = setTimeout(checkSession, FIRST_DELAY);
  }
});

onSessionLost((code) => {
  if (!me) return;
  signedOut(code === "other_user" ? "" : EXPIRED);
  if (code === "other_user") checkSession().then(() => { if (me) announceUser(); });
});

const announceUser = () => toast(`${me.name} has signed in, in another tab.`);

const signIn = ignoreWhileBusy(async (form, path) => {
  const problem = form.querySelector(".error");
  problem.textContent = "";
  try {
    const { user } = await api("POST", path, { name: form.elements.name.value, password: form.elements.password.value });
    signedIn(user);
  } catch (error) {
    if (!(error instanceof SessionOver)) { // checkSession may have shown the user already
      problem.textContent = error.message;
      return;
    }
  }
  tabs.postMessage("signed in");
  $("main").focus();
});

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(event.target, event.submitter?.name === "new" ? "/api/users" : "/api/session");
});

let signingOut = false; // this tab is signing out
$("sign-out").addEventListener("click", ignoreWhileBusy(() => attempt(async () => {
  signingOut = true;
  try {
    await api("DELETE", "/api/session");
    signedOut("");
  } finally {
    signingOut = false;
    $("new-post").reset();
    if (!me) tabs.postMessage("signed out"); // even if sse.close arrived before the response
  }
})));

// The regular request keeps the session alive while the page is open. If the response has a
// notification that the stream did not deliver, the connection is dead.
setInterval(() => {
  if (me) inbox.refetch().then((missing) => { if (missing && stream.state === "live") stream.reconnect(); }).catch(() => {});
}, 5 * 60_000);

// While the page was hidden, another user may have signed in.
addEventListener("visibilitychange", () => document.visibilityState === "visible" && checkSession());

// The header grows with a notice or a toast. Scrolling to an element must leave room for it.
new ResizeObserver(([{ target }]) => document.documentElement.style.setProperty("--header", `${target.offsetHeight}px`))
  .observe(document.querySelector("header"));

checkSession();
