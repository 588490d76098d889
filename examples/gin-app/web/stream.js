// The event stream of this tab.

const POSITION_KEY = "lastEventId"; // in sessionStorage, which survives a reload of this tab

// All times are in milliseconds.
const FIRST_DELAY = 1000; // before a new attempt after a refusal; it doubles each time,
const LONGEST_DELAY = 30_000; // up to this
const OPEN_TIME = 3000; // how long a connection may take to open before the page shows "Reconnecting"
const GIVE_UP_TIME = 30_000; // how much longer until the stream tries a new connection
const MAX_SILENT_PAUSE = 10_000; // a longer pause that the server asked for is shown, too
const MISSED_HEARTBEATS = 3; // so many missing heartbeats mean a dead connection
const GRACE = 2000; // after a sleep, timers may run this long before the events that arrived
const SLEEP_CHECK_INTERVAL = 10_000;
const SLEPT = 3 * SLEEP_CHECK_INTERVAL; // a longer pause between two checks means that the tab slept
const SLEPT_HIDDEN = 150_000; // the same for a hidden tab, whose timers run once a minute
const LONG_HIDDEN = 60_000; // a tab that was hidden longer checks its connection

// Stream keeps an EventSource open, and resumes after the last event of this tab.
//
// An EventSource reconnects by itself with its last event ID, unless it is CLOSED. A new
// EventSource, after a reload or for another post, gets the ID as the parameter lastEventId.
//
// A connection may die without an error. The server sends an event, if only sse.heartbeat, at
// least once in the interval that sse.open names. After three intervals without an event, Stream
// opens a new connection.
//
// Stream calls these functions of on:
//   state(name, reason)  name is "live" or "reconnecting"; reason is from sse.reconnect, or ""
//   event(type, data)    for each event of the application
//   stale()              events are missing: the page must fetch everything again
//   refused()            the server refused the stream; Stream awaits the result, then tries again
//   ended(reason)        after sse.close; the stream stays closed
export class Stream {
  #on;
  #source = null;
  #query = null; // the parameters of the stream; null while it is closed
  #retryDelay = FIRST_DELAY;
  #connectTimer = 0; // for the next attempt, while the stream is not live
  #downSince = 0; // when the stream stopped being live; 0 while it is live
  #reason = ""; // the reason of the last sse.reconnect
  #endAnnounced = false; // sse.reconnect arrived, so the end of the connection is expected
  #heartbeat = 0; // the interval of sse.open, in milliseconds; 0 without a connection or heartbeats
  #lastEventAt = 0; // when the last event arrived
  #heartbeatTimer = 0; // checks for missing heartbeats
  #lastRunAt = Date.now(); // when the tab was last known to run
  #hiddenSince = document.hidden ? Date.now() : 0; // when the tab was hidden; 0 while it is visible

  constructor(types, on) {
    this.types = types;
    this.#on = on;
    addEventListener("online", () => this.reconnect());
    addEventListener("pageshow", (event) => event.persisted && this.reconnect());
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    setInterval(() => this.#checkForSleep(), SLEEP_CHECK_INTERVAL);
  }

  // open opens the stream with these parameters, or replaces the open one. It resumes after the
  // last event of this tab.
  open(query) {
    this.#query = query;
    this.#connect();
  }

  close() {
    this.#query = null;
    this.#disconnect();
  }

  // reconnect opens a new connection, unless the stream is closed. Use it when the connection may
  // be dead: a dead connection need not report an error.
  reconnect() { if (this.#query) this.#connect(); }

  // clearPosition makes the next stream start at the end. Use it when the user changes.
  clearPosition() { sessionStorage.removeItem(POSITION_KEY); }

  #disconnect() {
    clearTimeout(this.#connectTimer);
    this.#stopHeartbeatCheck();
    this.#source?.close();
    this.#source = null;
  }

  // stopHeartbeatCheck ends the check for missing heartbeats.
  #stopHeartbeatCheck() {
    clearTimeout(this.#heartbeatTimer);
    this.#heartbeat = 0;
  }

  // checkForSleep finds out whether the tab did not run for a while, because the laptop slept. Its
  // connection may have died without an error.
  #checkForSleep() {
    const slept = Date.now() - this.#lastRunAt > (this.#hiddenSince ? SLEPT_HIDDEN : SLEPT);
    this.#lastRunAt = Date.now();
    if (slept) this.#checkConnection();
  }

  #visibilityChanged() {
    const away = this.#hiddenSince ? Date.now() - this.#hiddenSince : 0;
    this.#hiddenSince = document.hidden ? Date.now() : 0;
    this.#lastRunAt = Date.now();
    if (away > LONG_HIDDEN) this.#checkConnection();
  }

  // checkConnection reconnects if the connection is dead. It is called after a time in which the
  // tab may not have run. Events that arrived in that time may come after this call, so it waits
  // for GRACE.
  #checkConnection() {
    if (!this.#heartbeat) return this.reconnect(); // without heartbeats it cannot know
    const before = this.#lastEventAt;
    const silence = Date.now() - before;
    if (silence >= 0 && silence < this.#heartbeat + GRACE) return;
    clearTimeout(this.#heartbeatTimer);
    this.#heartbeatTimer = setTimeout(() => { if (this.#lastEventAt === before) this.reconnect(); else this.#startHeartbeatCheck(); }, GRACE);
  }

  // startHeartbeatCheck reconnects when too many heartbeats are missing. If its timer is late, the
  // tab did not run, and the connection may be alive.
  #startHeartbeatCheck() {
    clearTimeout(this.#heartbeatTimer);
    const limit = MISSED_HEARTBEATS * this.#heartbeat;
    this.#lastEventAt = Math.min(this.#lastEventAt, Date.now()); // the clock may have been set back
    const due = this.#lastEventAt + limit;
    this.#heartbeatTimer = setTimeout(() => {
      const now = Date.now();
      if (now - this.#lastEventAt < limit) return this.#startHeartbeatCheck();
      if (now - due > GRACE) return this.#checkConnection();
      this.#on.state("reconnecting", "");
      this.#connect();
    }, due - Date.now());
  }

  #connect() {
    this.#disconnect();
    const url = new URL("/events", location.href);
    for (const [name, value] of Object.entries(this.#query)) url.searchParams.set(name, value);
    const position = sessionStorage.getItem(POSITION_KEY);
    if (position) url.searchParams.set("lastEventId", position);

    this.#endAnnounced = false;
    this.#reason = "";
    this.#waitForOpen(0);
    const source = new EventSource(url);
    this.#source = source;
    const listen = (type, handle) =>
      source.addEventListener(type, (event) => {
        if (source !== this.#source) return; // from a connection that was replaced
        if (event.lastEventId) sessionStorage.setItem(POSITION_KEY, event.lastEventId);
        this.#lastEventAt = Date.now();
        handle(event.data && JSON.parse(event.data));
      });

    listen("sse.open", ({ resumed, heartbeat }) => {
      clearTimeout(this.#connectTimer);
      this.#retryDelay = FIRST_DELAY;
      this.#downSince = 0;
      this.#heartbeat = heartbeat ?? 0;
      if (heartbeat) this.#startHeartbeatCheck();
      this.#on.state("live", "");
      if (!resumed) this.#on.stale(); // no earlier events: ask the server for the state
    });
    listen("sse.heartbeat", () => {});
    listen("sse.gap", () => this.#on.stale());
    listen("sse.reconnect", ({ reason, retry = 0 }) => { // the EventSource reconnects by itself
      this.#stopHeartbeatCheck();
      this.#endAnnounced = true;
      this.#reason = reason;
      this.#waitForOpen(retry);
    });
    listen("sse.close", ({ reason }) => {
      this.close();
      this.#on.ended(reason);
    });
    for (const type of this.types) listen(type, (data) => this.#on.event(type, data));

    source.onerror = () => {
      if (source !== this.#source) return;
      this.#stopHeartbeatCheck();
      const refused = source.readyState === EventSource.CLOSED;
      if (this.#endAnnounced && !refused) {
        this.#endAnnounced = false;
        return;
      }
      this.#reason = "";
      this.#on.state("reconnecting", "");
      if (refused) this.#retryLater();
      else this.#waitForOpen(0);
    };
  }

  // waitForOpen waits for sse.open, after a pause that the server asked for. It needs a time limit,
  // because a new stream on a dead HTTP/2 connection reports no error.
  #waitForOpen(pause) {
    clearTimeout(this.#connectTimer);
    this.#downSince ||= Date.now();
    const giveUp = pause + OPEN_TIME + GIVE_UP_TIME;
    const silent = Math.max(0, OPEN_TIME + Math.min(pause, MAX_SILENT_PAUSE) - (Date.now() - this.#downSince)); // from the first of several pauses
    this.#connectTimer = setTimeout(() => {
      this.#on.state("reconnecting", this.#reason);
      this.#connectTimer = setTimeout(() => this.#retryLater(), giveUp - silent);
    }, silent);
  }

  // retryLater opens a new EventSource after a delay. An EventSource gives up after any status but
  // 200. So the page first checks its session, which may have ended.
  #retryLater() {
    this.#disconnect();
    const query = this.#query;
    this.#connectTimer = setTimeout(async () => {
      await this.#on.refused();
      if (this.#query === query && !this.#source) this.#connect(); // unless the page opened another stream
    }, this.#retryDelay * (0.5 + Math.random()));
    this.#retryDelay = Math.min(2 * this.#retryDelay, LONGEST_DELAY);
  }
}
