// The page: who is signed in, and what brings its parts together.

import { api, beginSession, endSession, onSessionLost, SessionOver } from "./api.js";
import { $, toast } from "./dom.js";
import { Feed } from "./feed.js";
import { Inbox } from "./inbox.js";
import { Stream } from "./stream.js";
import { coalesce, once } from "./work.js";

let me = null; // {id, name} while signed in

// attempt runs what a click or a form asked for, and shows what went wrong.
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof SessionOver)) toast(error.message);
    return undefined;
  }
}

const STATES = { live: "Live", reconnecting: "Reconnecting…", closed: "Signed out", stopped: "Not live" };

function showState(name) {
  const shown = $("connection");
  if (shown.dataset.state === name) return; // or it is read out again
  shown.dataset.state = name;
  shown.textContent = STATES[name];
}

const stream = new Stream(["comment", "reaction", "post", "post.comment", "notifications.read"], {
  state(name) {
    showState(name);
    if (name === "live" && needed) refetch(); // what failed before
  },
  stale: () => refetch(),
  refused: () => whoIsSignedIn(),
  ended(reason) {
    if (reason === "signed out") return signedOut();
    showState("stopped");
    toast("The server has ended the live updates. Reload the page to have them again.");
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

const openStream = (post) => stream.open({ user: me.id, feed: true, ...(post !== null && { post }) });

const feed = new Feed({ attempt, opened: (id) => { if (me) openStream(id); } });

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

let lastUser = "";

function signedIn(user) {
  me = user;
  beginSession(user.id);
  feed.viewer = user.id;
  if (lastUser !== user.id) $("write").reset(); // a draft is for who has written it
  lastUser = user.id;
  $("who").textContent = me.name;
  for (const id of ["home", "account"]) $(id).hidden = false;
  $("welcome").hidden = true;
  $("sign-in").reset();
  refetch();
  openStream(null);
}

function signedOut() {
  me = null;
  clearTimeout(later);
  endSession();
  stream.close();
  stream.forget();
  showState("closed");
  feed.clear();
  inbox.clear();
  $("toasts").replaceChildren();
  $("announcement").textContent = "";
  for (const id of ["home", "account"]) $(id).hidden = true;
  $("welcome").hidden = false;
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
tabs.onmessage = () => whoIsSignedIn();

// whoIsSignedIn asks the server, has the page show them, and renews their session. It
// never fails: nobody knows yet, then, and it is asked again.
let unknown = 0;
const whoIsSignedIn = coalesce(async () => {
  try {
    const { user } = await api("GET", "/api/me");
    if (user.id !== me?.id) signedIn(user);
  } catch (error) {
    if (me || error instanceof SessionOver || !$("welcome").hidden) return;
    clearTimeout(unknown);
    if (error.status === 0 || error.status >= 500) unknown = setTimeout(whoIsSignedIn, FIRST_DELAY);
    else signedOut();
  }
});

onSessionLost((code) => {
  if (!me) return;
  signedOut();
  if (code === "other_user") whoIsSignedIn();
});

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
  tabs.postMessage("changed");
  $("main").focus();
});

$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(event.target, event.submitter?.name === "new" ? "/api/users" : "/api/session");
});

$("sign-out").addEventListener("click", once(() => attempt(async () => {
  try {
    await api("DELETE", "/api/session");
    signedOut();
  } finally {
    $("write").reset();
    tabs.postMessage("changed"); // also when the stream was sooner to say so
  }
})));

// A page that is open is in use: its session is renewed by being used. If the answer has
// what the stream should have brought, the connection is one no more.
setInterval(() => {
  if (me) inbox.refetch().then((missing) => { if (missing) stream.again(); }).catch(() => {});
}, 5 * 60_000);

// A page that was hidden may have missed that another has signed in.
addEventListener("visibilitychange", () => document.visibilityState === "visible" && whoIsSignedIn());

whoIsSignedIn();
