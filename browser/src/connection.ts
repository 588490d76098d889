// The connection to the server: when it is opened, given up and opened again.

import type { Block } from "./decoder.js";
import type { Link, TopicChange } from "./link.js";
import type { Transport } from "./transport.js";
import type { Options, State } from "./types.js";

/** What is known about the open connection. */
type Open = ["open", id: string, topics: string[], heartbeat: number, user: string];

/**
 * What a stream learns from its connection, in order. Messages go to other tabs too, so they are
 * plain values.
 */
export type Message =
  | ["event", type: string, text: string, id: string] // without a type only the position has moved
  | ["stale", reason: string, text: "" | "?", id?: undefined] // with "?" no state follows by itself
  | [...Open, refused: string[]]
  | ["state", state: State, reason: string, status?: number | undefined];

export interface Connection {
  /**
   * Connects at a position, by default the page's. If quiet, the page believes to be live: it hears of
   * a delay only.
   */
  begin(topics: string[], quiet: boolean, at?: string): void;
  stop(): void;
  /** Sets the topics. An open connection is opened again at its position if they have changed. */
  want(topics: string[]): void;
  /** Connects now, whatever the state. */
  reconnect(): void;
  /** Connects if it waits for the next attempt and may. */
  hurry(): void;
  /** Replaces the connection if it is dead. */
  check(): void;
}

type Timer = ReturnType<typeof setTimeout> | undefined;

// All times are in milliseconds.
const FIRST_DELAY = 1000; // before the next attempt, unless the server names a time; it doubles,
const LONGEST_DELAY = 30_000; // up to this, or the server's time if that is longer
const LEAST_DELAY = 100;
const LONGEST_WAIT = 3_600_000; // that the server can ask for
const OPEN_TIME = 4000; // how long a connection may take to open, at first; it doubles three times
const QUIET_TIME = 3000; // how long an expected interruption may take before it is reported
const LEAVE_TIME = 200; // between the end of a connection and that of its page
const LONGEST_QUIET_WAIT = 10_000; // the rest of a longer wait is reported
export const MISSED_HEARTBEATS = 2.5; // so much silence is a dead connection
const MOMENT = 20; // changes of the topics within this time are one
const TICK = 1000; // between two checks, at most
const LATE = 1500; // a tick so late means that the page did not run, because of sleep or its own work
const GRACE = 300; // after a pause, what has arrived may come this long after the timers

export function newConnection(
  address: URL,
  transport: Transport,
  options: Options,
  mayConnect: () => unknown,
  emit: (messages: Message[]) => void,
  here: () => string, // the position of the page
): Connection {
  const control = options.control as Link | undefined;
  let position: string;
  let topics: string[] = [];
  let sent: string[] = []; // those in the URL of the open connection
  let fresh = false; // it was opened without a position
  let open: Open | undefined;
  let running: AbortController | undefined;
  let live = false;
  let waiting = false; // for the next attempt
  let notBefore = 0; // the end of a wait that the server asked for
  let attempt = 0; // what belongs to an earlier attempt is ignored
  let close = () => {};
  let timer: Timer; // for the next attempt, the end of this one, or a check of the open connection
  let reportTimer: Timer; // for the report of an expected interruption
  let ticker: Timer;
  let readTimer: Timer; // for changes of the topics
  let failures = 0; // in a row
  let delay = FIRST_DELAY;
  let renewed = false; // the credential was renewed since the connection was open
  let heartbeat = 0; // the interval of the newest connection that named it; 0 is none
  let heard = 0; // when the last bytes arrived

  /** Closes the connection and ends all waits for it. */
  function drop() {
    attempt++;
    close();
    close = () => {};
    clearTimeout(timer);
    live = waiting = false;
    open = undefined;
  }

  function stop() {
    running?.abort();
    running = undefined;
    drop();
    clearTimeout(ticker);
    clearTimeout(reportTimer);
    clearTimeout(readTimer);
    readTimer = undefined;
  }

  function end(state: State, reason: string, status?: number) {
    stop();
    emit([["state", state, reason, status]]);
  }

  async function connect() {
    drop();
    if (!mayConnect()) return;
    const mine = attempt;
    timer = setTimeout(() => fail("timeout"), OPEN_TIME * 2 ** Math.min(failures, 3));
    let headers: Headers;
    try {
      headers = new Headers(await options.headers?.());
    } catch (error) {
      console.error(error);
      if (mine === attempt) fail("headers");
      return;
    }
    if (mine !== attempt) return;
    headers.set("Accept", "text/event-stream");
    const url = new URL(address);
    sent = topics;
    for (const topic of sent) url.searchParams.append(options.topicParameter ?? "topic", topic);
    fresh = !position;
    if (!fresh) {
      // An EventSource cannot set the header, for another origin it would need a preflight, and it
      // takes no more than Latin-1.
      if (options.transport || url.origin !== globalThis.location?.origin || /[^!-~]/.test(position)) url.searchParams.set("lastEventId", position);
      else headers.set("Last-Event-ID", position);
    }
    close = transport(url.href, headers, position, {
      opened() {
        heard = Date.now();
        clearTimeout(timer);
        timer = setTimeout(() => emit(opened([])), TICK); // a server other than the kit's sends no sse.open
      },
      received,
      retry(milliseconds) {
        delay = milliseconds || LEAST_DELAY;
      },
      ended,
    });
  }

  /** Adds to out that the connection is open. */
  function opened(out: Message[]) {
    clearTimeout(timer);
    clearTimeout(reportTimer);
    if (!live) {
      out.push(["state", "live", ""]);
      live = true;
      failures = notBefore = 0;
      renewed = false;
    }
    return out;
  }

  function received(blocks: Block[]) {
    heard = Date.now();
    const out: Message[] = [];
    for (const { type, text, id } of blocks) {
      position = id;
      if (!/^(sse\.(open|topics|heartbeat|gap|close|reconnect))?$/.test(type)) {
        opened(out).push(["event", type, text, id]);
        continue;
      }
      const data = parse(text) ?? {};
      const { stream = "", user, heartbeat: interval = 0, reason = "", retry = delay } = data;
      if (type === "sse.open") {
        heartbeat = interval;
        tick();
        if (changed()) change();
        open = ["open", stream, sent, interval, user];
        control?.update(data, sent);
        opened(settle(data, out));
        if (fresh) out.push(["stale", "new", ""]); // otherwise sse.gap says what is missing
      } else if (type === "sse.gap") out.push(["stale", reason, ""]);
      else if (type === "sse.topics") {
        control?.update(data);
        settle(data, out);
      }
      // The position comes last: a tab that is there has the rest.
      out.push(["event", /open|topics/.test(type) ? type : "", text, id]);
      if (type === "sse.close") {
        emit(out);
        return end("closed", reason);
      }
      if (type === "sse.reconnect") {
        emit(out);
        if (running) pause(reason, Math.max(LEAST_DELAY, retry));
        return;
      }
    }
    emit(out);
  }

  /** Waits as long as the server asked. */
  function pause(reason: string, wait: number) {
    drop();
    report(QUIET_TIME + Math.min(wait, LONGEST_QUIET_WAIT), reason);
    notBefore = Date.now() + wait;
    if (reason === "expired" && options.auth) renew("expired");
    else connectAfter(wait);
  }

  function ended(reason: string, status?: number, wait?: number) {
    if (status === 204) end("closed", "finished", status);
    else if (status === 401 || status === 403 || reason === "redirected") {
      // A redirect to something else leads to a page to sign in.
      if (!options.auth || renewed) return end("signed-out", reason, status);
      report(QUIET_TIME, reason, status);
      renew(reason, status);
    } else if (!status || status === 200 || status >= 500 || status === 408 || status === 425) fail(reason, status, wait);
    else end("closed", reason, status);
  }

  async function renew(reason: string, status?: number) {
    drop();
    const mine = attempt;
    const until = notBefore;
    waiting = true;
    notBefore = Infinity; // only the answer ends this wait
    let result;
    try {
      result = await options.auth!();
    } catch (error) {
      console.error(error);
      if (mine === attempt) fail("auth");
      return;
    }
    if (mine !== attempt) return;
    renewed = true;
    notBefore = until;
    if (result === false) end("signed-out", reason, status);
    else connectAfter(until - Date.now());
  }

  /** Waits before another attempt, longer each time. */
  function fail(reason: string, status?: number, wait = 0) {
    // A page that is left loses its connection first. The other tabs need not hear of that.
    report(live ? LEAVE_TIME : 0, reason, status);
    drop();
    const backoff = Math.max(delay, Math.min(LONGEST_DELAY, delay * 2 ** failures++)) * (0.5 + Math.random() / 2);
    notBefore = wait && Date.now() + wait;
    connectAfter(wait + backoff);
  }

  function connectAfter(wait: number) {
    waiting = true;
    timer = setTimeout(connect, Math.min(wait, LONGEST_WAIT));
  }

  /** Opens a new connection. The page hears of it only if that takes long. */
  function reopen() {
    if (live) report(QUIET_TIME);
    connect();
  }

  /** Reports the state reconnecting, unless the connection is open before. */
  function report(after: number, reason = "", status?: number) {
    clearTimeout(reportTimer);
    reportTimer = setTimeout(() => emit([["state", "reconnecting", reason, status]]), after);
  }

  const changed = () => topics.join("\n") !== sent.join("\n");

  /** Adds to out that the open connection reads other topics. */
  function settle({ added = [], removed = [], refused = [] }: TopicChange, out: Message[] = []) {
    if (open) {
      open[2] = [...open[2].filter((topic) => !removed.includes(topic)), ...added];
      out.push([...open, refused]);
    }
    return out;
  }

  /** Asks for the topics if they have changed, or opens the connection again. One that is being opened opens first. */
  function change() {
    readTimer ||= setTimeout(() => {
      readTimer = undefined;
      if (!live) return;
      if (control?.want(topics, (change) => emit(settle(change)), change) ?? changed()) reopen();
      else emit(settle({})); // they were changed back
    }, MOMENT);
  }

  /** Connects if the stream is waiting and may. */
  function hurry() {
    if (waiting && Date.now() >= notBefore) connect();
  }

  /** Checks the connection again and again. */
  function tick() {
    clearTimeout(ticker);
    const wait = Math.min(TICK, heartbeat / 4 || TICK);
    const due = Date.now() + wait;
    ticker = setTimeout(() => {
      tick();
      const late = Date.now() - due;
      if (late > LATE) awake();
      else check();
    }, wait);
  }

  function check() {
    heard = Math.min(heard, Date.now()); // the clock may have been set back
    if (!live || !heartbeat || Date.now() - heard < MISSED_HEARTBEATS * heartbeat) return;
    emit([["state", "reconnecting", "silent"]]);
    connect();
  }

  /** After a pause of the page, connects, or replaces a connection that is silent for too long. */
  function awake() {
    hurry();
    if (!live || !heartbeat || Date.now() - heard < 1.2 * heartbeat) return;
    const before = heard;
    clearTimeout(timer);
    timer = setTimeout(() => heard === before && reopen(), GRACE);
  }

  return {
    begin(wanted, quiet, at = here()) {
      stop();
      position = at;
      topics = wanted;
      failures = notBefore = 0;
      delay = FIRST_DELAY;
      renewed = false;
      running = new AbortController();
      globalThis.addEventListener?.("online", () => (waiting ? hurry() : reopen()), running);
      globalThis.document?.addEventListener("visibilitychange", awake, running);
      if (quiet) report(QUIET_TIME);
      tick();
      connect();
    },
    stop,
    hurry,
    check,
    want(wanted) {
      topics = wanted;
      change();
    },
    reconnect() {
      if (running) reopen();
    },
  };
}

/** The value of JSON, or the text itself. */
export function parse(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export const isFinal = (state: unknown) => state === "closed" || state === "signed-out";
