// The page: who is signed in, and what brings its parts together.

import { api, beginSession, endSession, onReached, onSessionLost, SessionOver } from "./api.js";
import { $, dismiss, element, toast } from "./dom.js";
import { Feed } from "./feed.js";
import { Inbox } from "./inbox.js";
import { showNotice, showState, whenRetrying } from "./status.js";
import { Stream } from "./stream.js";
import { coalesce, once } from "./work.js";

let me = null; // {id, name} while signed in

// attempt runs what a click or a form asked for, and shows what went wrong.
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof SessionOver)) toast(element("span", { className: "brief" }, error.message), { tag: error.code });
    return undefined;
  }
}

// inReach removes the toasts that say that the server cannot be reached.
const inReach = () => dismiss((tag) => tag === "offline");
onReached(inReach);

const stream = new Stream(["comment", "reaction", "post", "post.comment", "notifications.read"], {
  state(name, reason) {
    showState(name, reason);
    if (name !== "live") return;
    inReach();
    if (needed) refetch(); // what failed before
  },
  stale: () => refetch(),
  refused: () => whoIsSignedIn(),
  ended(reason) {
    if (reason === "signed out") return signedOut(leaving ? "" : ELSEWHERE);
    stopped = true;
    showState("stopped");
    const text = reason === "replaced" ? "This account is open in too many tabs."
      : `The server has ended the live updates${reason === "disconnected" ? "" : `: ${reason}`}.`;
    showNotice(text, "Go live here", () => {
      showState("connecting");
      openStream(feed.open?.id ?? null);
    });
  },
  event(type, data) {
    switch (type) {
      case "comment":
      case "reaction":
        inbox.arrived({ ...data, type });
        feed.refresh(data.post_id).catch(refetchLater);
        break;
      case "post":
        feed.arrived(data);
        break;
      case "post.comment":
        feed.commented(data);
        break;
      case "notifications.read":
        inbox.markRead(data.up_to);
    }
  },
});

whenRetrying(() => stream.again());

let stopped = false; // after sse.close, until the user asks for a new stream

function openStream(post) {
  stopped = false;
  stream.open({ user: me.id, feed: true, ...(post !== null && { post }) });
}

const feed = new Feed({ attempt, opened: (id) => { if (me && !stopped) openStream(id); } });

const inbox = new Inbox({ attempt, show: (notice) => attempt(async () => {
  const focused = document.activeElement;
  const post = await feed.show(notice.post_id);
  if ([focused, document.body].includes(document.activeElement)) post?.reveal(notice); // or the person has gone on
}) });

// refetch gets what the page shows from the server. What fails is asked for again: after
// a while, or when the stream is live again.
let needed = false;
const refetch = coalesce(async () => {
  clearTimeout(later);
  if (!me) return;
  needed = true;
  $("home").ariaBusy = "true";
  try {
    await Promise.all([feed.refetch(), inbox.refetch()]);
    needed = false;
    delay = FIRST_DELAY;
  } catch (error) {
    refetchLater(error);
  } finally {
    $("home").ariaBusy = "false";
  }
});

const FIRST_DELAY = 2000;
const LONGEST_DELAY = 30_000;
let delay = FIRST_DELAY;
let later = 0;

function refetchLater(error) {
  if (error instanceof SessionOver) return;
  needed = true;
  clearTimeout(later);
  later = setTimeout(refetch, delay * (0.5 + Math.random()));
  delay = Math.min(2 * delay, LONGEST_DELAY);
}

// Why the page shows the sign-in form again.
const ELSEWHERE = "You were signed out, in another tab or on another device.";
const EXPIRED = "Your session has ended. Please sign in again.";

let lastUser = "";

function signedIn(user) {
  if (me) leave(); // another user has signed in, with the same cookie
  me = user;
  beginSession(user.id);
  feed.viewer = user.id;
  if (lastUser !== user.id) $("write").reset(); // a draft is for who has written it
  lastUser = user.id;
  $("who").textContent = $("who").title = me.name;
  for (const id of ["home", "account"]) $(id).hidden = false;
  $("welcome").hidden = true;
  $("sign-in").reset();
  $("sign-in").querySelector(".error").textContent = "";
  showState("connecting");
  refetch();
  openStream(null);
}

function leave() {
  me = null;
  clearTimeout(later);
  endSession();
  stream.close();
  stream.forget();
  feed.clear();
  inbox.clear();
  $("toasts").replaceChildren();
  $("announcement").textContent = "";
}

// signedOut shows the sign-in form, and why: "" after a sign-out in this tab.
function signedOut(why) {
  leave();
  showState("closed");
  for (const id of ["home", "account"]) $(id).hidden = true;
  $("welcome").hidden = false;
  $("ended").textContent = why;
  $("sign-in").elements.name.focus();
  showDemo();
}

// showDemo shows the demo's people, where there are any.
async function showDemo() {
  const { people, password } = await api("GET", "/api/demo").catch(() => ({ people: [] }));
  if (people.length === 0) return;
  $("demo").textContent = `In the demo: ${people.join(", ")}, with password “${password}”. Sign in as another in a private window.`;
}

// The cookie is one for all tabs: who signs in or out in one of them does so in all.
const tabs = new BroadcastChannel("session");
tabs.onmessage = ({ data }) => whoIsSignedIn(data === "signed out" ? ELSEWHERE : EXPIRED);

// whoIsSignedIn asks the server for the user of the session, which renews the session, and
// shows that user's page. If the session has ended, it shows the form and why. It never fails: after
// an error it asks again, unless the page shows something already.
let unknown = 0;
let lostBy = EXPIRED;
function whoIsSignedIn(why = EXPIRED) {
  lostBy = why;
  return ask();
}
const ask = coalesce(async () => {
  try {
    const { user } = await api("GET", "/api/session");
    if (user && user.id !== me?.id) {
      const switched = me !== null;
      signedIn(user);
      if (switched) sayWho();
    } else if (!user && (me || $("welcome").hidden)) signedOut(me ? lostBy : "");
  } catch (error) {
    if (me || error instanceof SessionOver || !$("welcome").hidden) return;
    showState("reconnecting");
    clearTimeout(unknown);
    unknown = setTimeout(whoIsSignedIn, FIRST_DELAY);
  }
});

onSessionLost((code) => {
  if (!me) return;
  signedOut(code === "other_user" ? "" : EXPIRED);
  if (code === "other_user") whoIsSignedIn().then(() => { if (me) sayWho(); });
});

const sayWho = () => toast(`${me.name} has signed in, in another tab.`);

const signIn = once(async (form, path) => {
  const problem = form.querySelector(".error");
  problem.textContent = "";
  try {
    const { user } = await api("POST", path, { name: form.elements.name.value, password: form.elements.password.value });
    signedIn(user);
  } catch (error) {
    if (!(error instanceof SessionOver)) { // or the page was sooner to see who is signed in
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

let leaving = false; // a sign-out of this tab is under way
$("sign-out").addEventListener("click", once(() => attempt(async () => {
  leaving = true;
  try {
    await api("DELETE", "/api/session");
    signedOut("");
  } finally {
    leaving = false;
    $("write").reset();
    if (!me) tabs.postMessage("signed out"); // also if sse.close came before the answer
  }
})));

// A page that is open is in use: its session is renewed by being used. If the answer has
// what the stream should have brought, the connection is one no more.
setInterval(() => {
  if (me) inbox.refetch().then((missing) => { if (missing) stream.again(); }).catch(() => {});
}, 5 * 60_000);

// A page that was hidden may have missed that another has signed in.
addEventListener("visibilitychange", () => document.visibilityState === "visible" && whoIsSignedIn());

// With a notice or a toast the header is higher. Scrolling to an element leaves room for it.
new ResizeObserver(([{ target }]) => document.documentElement.style.setProperty("--header", `${target.offsetHeight}px`))
  .observe(document.querySelector("header"));

whoIsSignedIn();
