// The page: who is signed in, and what brings its parts together.

import { api, onSessionEnded } from "./api.js";
import { $, toast } from "./dom.js";
import { Feed } from "./feed.js";
import { Inbox } from "./inbox.js";
import { Stream } from "./stream.js";

let me = null; // {id, name} while signed in

// attempt runs what a click or a form asked for, and shows what went wrong.
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    if (me) toast(error.message);
    return undefined;
  }
}

const STATES = { live: "Live", reconnecting: "Reconnecting…", closed: "Signed out" };

const stream = new Stream(["comment", "reaction", "post.comment", "notifications.read"], {
  state(name) {
    $("connection").dataset.state = name;
    $("connection").textContent = STATES[name];
    if (name === "live" && wanted) refetch(); // what failed before
  },
  stale: refetch,
  ended(reason) { if (reason === "signed out") signedOut(); },
  event(type, data) {
    switch (type) {
      case "comment":
      case "reaction":
        inbox.arrived({ ...data, type });
        attempt(() => feed.refresh(data.post_id));
        break;
      case "post.comment":
        feed.addComment(data);
        break;
      case "notifications.read":
        inbox.markRead(data.up_to);
    }
  },
});

const feed = new Feed({ attempt, opened: (id) => { if (me) stream.open(id === null ? {} : { post: id }); } });

const inbox = new Inbox({ attempt, show: (id) => attempt(async () => {
  await feed.show(id);
  feed.open.node.scrollIntoView({ block: "center" });
}) });

// refetch gets what the page shows from the server. Calls while one is under way
// become one more; after a failure the next stream that opens asks again.
let fetching = false;
let wanted = false;
async function refetch() {
  wanted = true;
  if (fetching) return;
  fetching = true;
  try {
    while (wanted && me) {
      wanted = false;
      await Promise.all([feed.refetch(), inbox.refetch()]);
    }
  } catch (error) {
    wanted = true;
    if (me) toast(error.message);
  } finally {
    fetching = false;
  }
}

function signedIn(user) {
  me = user;
  $("who").textContent = me.name;
  for (const id of ["home", "account"]) $(id).hidden = false;
  $("welcome").hidden = true;
  refetch();
  stream.open();
}

function signedOut() {
  me = null;
  stream.close();
  stream.forget();
  feed.clear();
  inbox.clear();
  $("toasts").replaceChildren();
  for (const id of ["home", "account"]) $(id).hidden = true;
  $("welcome").hidden = false;
  $("sign-in").elements.name.focus();
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const problem = form.querySelector(".error");
  problem.textContent = "";
  try {
    const path = event.submitter?.name === "new" ? "/api/users" : "/api/session";
    const { user } = await api("POST", path, { name: form.elements.name.value, password: form.elements.password.value });
    form.reset();
    signedIn(user);
  } catch (error) {
    problem.textContent = error.message;
  }
});

$("sign-out").addEventListener("click", () => attempt(async () => {
  await api("DELETE", "/api/session");
  signedOut();
}));

onSessionEnded(() => { if (me) signedOut(); });

// A page that is open is in use: its session is renewed by being used.
setInterval(() => me && attempt(() => api("GET", "/api/me")), 5 * 60_000);

async function start() {
  try {
    signedIn((await api("GET", "/api/me")).user);
  } catch (error) {
    if (error.status === 401) return signedOut();
    setTimeout(start, 2000); // nobody knows yet who is signed in
  }
}
start();
