// One connection for all tabs of a session.
//
// The tab that holds a lock leads: it has the connection, and broadcasts what it receives. Each
// time a tab begins to lead, it takes a term that is greater than all before. Tabs follow the
// greatest term that they have seen.
//
// A tab follows from a position of its own. It names that position in a hello. The leader answers
// with the messages since then, and what it broadcasts after its answer continues there. A new
// leader may have received less than a tab that says hello: then it answers when its own
// connection has come so far.

import { isFinal, MISSED_HEARTBEATS, type Connection, type Message } from "./connection.js";

/** What a stream reads from: its own connection, or that of another tab. */
export type Source = Pick<Connection, "begin" | "stop" | "want" | "reconnect">;

// All times are in milliseconds.
const COLLECT_TIME = 60; // for the hellos to a new leader
const SEARCH_TIME = 1000; // until a position counts as unknown
const LINGER_TIME = 1000; // for the other tabs to learn the end, before one could lead
const INHERIT_TIME = 5000; // for slow tabs to say hello, before their topics are given up
const PING_INTERVAL = 200; // from a visible tab to the leader
const SILENCE = 350; // after a ping, of a leader that does not run
const SLOW_TIMER = 2000; // how late the timers of a hidden tab are
const MAX_RECENT = 1000; // messages that a leader can repeat, and
const MAX_RECENT_TEXT = 1 << 20; // UTF-16 code units of data in them

/** The messages that have a place in the order. */
type Placed = Extract<Message, ["event" | "stale", ...unknown[]]>;

/** What a tab sends to the leader, in a BroadcastChannel. */
interface ToLeader {
  tab: string;
  topics?: string[];
  hello?: number; // numbered, because the tab may ask again before the answer arrives
  at?: [position: string, event: string]; // with a hello
  reconnect?: boolean;
}

/** What the leader broadcasts. */
interface FromLeader {
  term: number;
  to?: string; // the tab that a hello came from
  hello?: number;
  messages?: Message[];
}

/** A stream that shares its connection with all tabs of the same name. */
export function newShare(
  name: string,
  newConnection: (emit: (messages: Message[]) => void) => Connection,
  position: () => string,
  receive: (messages: Message[]) => void,
): Source {
  const { locks } = navigator;
  let tab: string; // another for each join: a leader that does not run may hold the lock of the one before
  let channel: BroadcastChannel;
  let joined: AbortController | undefined; // aborted when this tab leaves
  let topics: string[] = [];
  let term = 0; // the greatest seen

  // What leaders have sent. A tab keeps it for when it leads itself.
  let recent: Placed[] = [];
  let recentText = 0;
  let state: Message = ["state", "connecting", ""];
  let open: Extract<Message, ["open", ...unknown[]]> = ["open", "", [], 0, "", []];
  let lastEvent = ""; // its ID

  // As a follower:
  let queue: AbortController | undefined; // the wait for the lock
  let hellos = 0;
  let awaited = -1; // the hello that has no answer yet; 0 if this tab follows, -1 before its hello
  let heard = 0; // when a leader was heard last
  let asked = 0; // when it was asked for a sign of life since; 0 is not
  let pinger: ReturnType<typeof setTimeout> | undefined;

  // As the leader:
  let leading: AbortController | undefined; // aborted when this tab leads no more
  let ready = false; // it has been told of an open connection since it leads
  let inherited: string[] = []; // the topics of the leader before, until their tabs have said hello
  const others = new Map<string, string[]>(); // the topics of the other tabs
  const unanswered = new Map<string, ToLeader>(); // hellos

  const connection = newConnection((messages) => {
    if (!leading) return; // a handler has closed the stream
    broadcast({ messages });
    take(messages);
    if (isFinal(state[1])) {
      const mine = joined;
      setTimeout(() => mine === joined && leave(), LINGER_TIME);
    }
    unanswered.forEach((message) => leading && answer(message));
  });

  const broadcast = (message: Omit<FromLeader, "term">) => channel.postMessage({ term, ...message });
  const ask = (message: Omit<ToLeader, "tab">) => joined && channel.postMessage({ tab, ...message });
  const lacks = (wanted: string[]) => wanted.some((topic) => !open[2].includes(topic));
  const union = () => [...new Set([topics, inherited, ...others.values()].flat())].sort();

  /** Takes messages of the leader, which is this tab or another. */
  function take(messages: Message[]) {
    for (const message of messages) {
      if (message[0] === "state") state = message;
      else if (message[0] === "open") {
        if (lacks(message[2])) {
          recent = recent.slice(-1); // what is older has no events of the new topics
          recentText = 0;
        }
        open = message;
        ready = true;
      } else {
        if (message[0] === "event" && message[1]) lastEvent = message[3];
        recentText += message[2].length;
        recent.push(message);
      }
    }
    while (recent.length > MAX_RECENT || recentText > MAX_RECENT_TEXT) recentText -= recent.shift()![2].length;
    receive(messages);
  }

  function join() {
    const mine = new AbortController();
    joined = mine;
    tab = String(Math.random());
    awaited = -1; // what is broadcast from now on does not continue at this tab's position
    hears();
    channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => {
      if (data.term) fromLeader(data);
      else if (leading && !isFinal(state[1])) toLeader(data);
    };
    // A lock of its own shows the leader when this tab is gone.
    locks.request(name + tab, () => {
      if (mine !== joined) return;
      hello();
      stand();
      ping();
      return aborted(mine);
    }).catch(() => {
      // Locks are refused, as in a sandbox: this tab leads alone.
      channel.onmessage = null;
      if (mine === joined) lead();
    });
    document.addEventListener("visibilitychange", () => want(topics), mine); // the leader hurries
  }

  function want(wanted: string[]) {
    topics = wanted;
    if (leading) connection.want(union());
    else if (awaited >= 0) ask({ topics }); // else the hello will name them
  }

  function leave() {
    if (!joined) return;
    joined.abort();
    joined = undefined;
    queue?.abort();
    clearTimeout(pinger);
    stepDown();
    channel.close();
  }

  /** Notes that there is a leader. */
  function hears() {
    heard = Date.now();
    asked = 0;
  }

  function hello() {
    awaited = ++hellos;
    ask({ hello: awaited, at: [position(), lastEvent], topics });
  }

  /** Waits for the lock, or takes it from a leader that does not run. */
  function stand(steal = false) {
    queue?.abort();
    const mine = new AbortController();
    queue = mine;
    locks
      .request(name, steal ? { steal } : { signal: mine.signal }, () => (mine === queue && joined ? lead() : undefined))
      .catch(() => {}) // it was aborted, or stolen
      .then(() => {
        if (mine !== queue || !joined) return;
        stepDown();
        stand();
        hello();
      });
  }

  function lead() {
    const mine = new AbortController();
    leading = mine;
    ready = false;
    others.clear();
    unanswered.clear();
    inherited = open[2];
    term = Math.max(term + 1, Date.now()) + Math.random();
    broadcast({}); // the others say hello
    setTimeout(() => {
      if (mine !== leading) return;
      const here = position();
      const [there = ""] = [...unanswered.values()].map(({ at }) => at![0]).filter(Boolean);
      if (!here && there) receive([["stale", "new", "?"]]); // this tab alone has nothing yet
      connection.begin(union(), state[1] === "live", here || there);
    }, COLLECT_TIME);
    setTimeout(() => {
      if (mine !== leading) return;
      inherited = [];
      connection.want(union());
    }, INHERIT_TIME);
    return aborted(mine);
  }

  function stepDown() {
    leading?.abort();
    leading = undefined;
    connection.stop();
  }

  function fromLeader({ term: theirs, to, messages }: FromLeader) {
    if (theirs < term) return; // it has been replaced
    hears();
    if (theirs > term) {
      term = theirs;
      if (leading) return stepDown(); // stand says hello
      hello();
    }
    if (to ? to !== tab + awaited : awaited) return;
    awaited = 0;
    if (messages) take(messages);
    if (isFinal(state[1])) leave();
  }

  function toLeader(message: ToLeader) {
    const { tab: from, hello: number, topics: theirs, reconnect } = message;
    if (theirs) {
      if (!others.has(from)) watch(from);
      others.set(from, theirs);
      connection.want(union());
      connection.hurry();
    }
    if (reconnect) connection.reconnect();
    if (number) {
      unanswered.set(from, message);
      answer(message);
      search(message);
    } else {
      broadcast({});
      connection.check(); // the timers of a hidden leader are slow
    }
  }

  /**
   * Notices that a tab is gone: then this tab gets its lock. Its topics are read for a while longer,
   * because it may be reloading.
   */
  function watch(from: string) {
    const { signal } = leading!;
    const gone = () => {
      unanswered.delete(from);
      setTimeout(() => {
        others.delete(from);
        if (!signal.aborted) connection.want(union());
      }, INHERIT_TIME);
    };
    locks.request(name + from, { signal }, gone).catch(() => {});
  }

  /** Answers a hello, unless its position may be ahead of this tab's, or its topics are not read yet. */
  function answer(message: ToLeader, last = false) {
    const { tab: from, hello: number, topics: theirs, at } = message;
    const [place, event] = at!;
    const after = (id: string) => id && recent.findLastIndex((message) => message[3] === id) + 1;
    const early = lacks(theirs!);
    const begin = !early && (after(place) || after(event));
    if ((early || (!begin && place)) && !last) return;
    unanswered.delete(from);
    const missed: Message[] = begin ? recent.slice(begin) : [["stale", place ? "unknown" : "new", "?"], ["event", "", "", position()]];
    broadcast({ to: from + number, messages: [open, state, ...missed] });
  }

  /** Ends the search for the position of a hello, a while after the connection was opened. */
  function search(message: ToLeader) {
    setTimeout(() => {
      if (!leading || unanswered.get(message.tab) !== message) return;
      if (ready) answer(message, true);
      else search(message);
    }, SEARCH_TIME);
  }

  /**
   * Takes the place of a leader that does not run. A visible tab asks it for a sign of life again
   * and again. A hidden tab, whose timers are slow, waits as long as for a dead connection.
   */
  function ping() {
    const due = Date.now() + PING_INTERVAL;
    pinger = setTimeout(() => {
      const now = Date.now();
      const { hidden } = document;
      if (leading || now - due > (hidden ? SLOW_TIMER : PING_INTERVAL)) {
        hears(); // a tab that did not run itself knows nothing about the leader
      } else if (asked ? now - asked > SILENCE : hidden && state[1] === "live" && open[3] && now - heard > MISSED_HEARTBEATS * open[3]) {
        hears();
        stand(true);
      } else if (!hidden) {
        asked ||= now;
        ask({});
      }
      ping();
    }, PING_INTERVAL);
  }

  return {
    begin(wanted) {
      leave();
      topics = wanted;
      if (isFinal(state[1])) state = ["state", "connecting", ""];
      join();
    },
    stop: leave,
    want,
    reconnect() {
      if (leading) connection.reconnect();
      else ask({ reconnect: true });
    },
  };
}

const aborted = (controller: AbortController) =>
  new Promise((resolve) => controller.signal.addEventListener("abort", resolve));
