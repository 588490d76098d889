// The event stream of this tab.

const POSITION = "lastEventId"; // in sessionStorage: survives a reload of this tab
const FIRST_DELAY = 1000;
const LONGEST_DELAY = 30_000;
const OPENING = 3000; // how long opening may take before the page says so,
const PATIENCE = 30_000; // and how much longer before the connection is given up
const QUIET = 10_000; // how long the page says nothing while it waits as the server has asked
const MISSED = 3; // heartbeats after which the connection counts as dead
const GRACE = 2000; // how long events that arrived while the tab did not run may take to be dispatched
const WATCH = 10_000;
const SLEPT = 3 * WATCH; // without a look means that nothing has run meanwhile,
const SLEPT_HIDDEN = 150_000; // and in a hidden tab, whose timers run once a minute, this
const AWAY = 60_000; // hidden for so long, a tab makes sure of its connection

// A Stream keeps an EventSource open, and resumes where this tab has read to. An
// EventSource reconnects by itself, with the last event ID it has, as long as it is
// not CLOSED; a new one, after a reload or for another post, must be told the ID.
//
// A connection may die without an error. The server sends an event at least once in the
// interval that sse.open names, if only sse.heartbeat. After three intervals without an event the
// stream opens a new connection.
//
// It calls state("live" | "reconnecting", reason), where reason is that of sse.reconnect or "",
// event(type, data) for events of the application, stale() when the page must fetch
// everything again, await refused() before it tries again after a refusal, and
// ended(reason) after sse.close: the stream is closed then.
export class Stream {
  #on;
  #source = null;
  #query = null; // what the stream was opened with; null while it is closed
  #delay = FIRST_DELAY;
  #timer = 0; // while there is no connection: for the next step
  #down = 0; // since when the stream is not live; 0 while it is
  #reason = ""; // of the last sse.reconnect
  #announced = false; // sse.reconnect came, and the connection has not ended yet
  #heartbeat = 0; // the interval of sse.open, in milliseconds; 0 without a connection or heartbeats
  #heard = 0; // when the last event came
  #silence = 0; // the timer that checks that
  #seen = Date.now();
  #hidden = document.hidden ? Date.now() : 0; // since when the tab is

  constructor(types, on) {
    this.types = types;
    this.#on = on;
    addEventListener("online", () => this.again());
    addEventListener("pageshow", (event) => event.persisted && this.again());
    document.addEventListener("visibilitychange", () => this.#turned());
    setInterval(() => this.#notice(), WATCH);
  }

  // open opens the stream, or another in its place, from where this tab has read to.
  open(query) {
    this.#query = query;
    this.#connect();
  }

  close() {
    this.#query = null;
    this.#hangUp();
  }

  // again reconnects, unless the stream is closed: what looks like a connection may be
  // one no more, and no event and no error tells so.
  again() { if (this.#query) this.#connect(); }

  // forget is for another person in this tab.
  forget() { sessionStorage.removeItem(POSITION); }

  #hangUp() {
    clearTimeout(this.#timer);
    this.#unwatch();
    this.#source?.close();
    this.#source = null;
  }

  // unwatch ends the check for heartbeats.
  #unwatch() {
    clearTimeout(this.#silence);
    this.#heartbeat = 0;
  }

  // A laptop that has slept may hold a connection that is long gone, and whose end
  // it will not hear of.
  #notice() {
    const slept = Date.now() - this.#seen > (this.#hidden ? SLEPT_HIDDEN : SLEPT);
    this.#seen = Date.now();
    if (slept) this.#doubt();
  }

  #turned() {
    const away = this.#hidden ? Date.now() - this.#hidden : 0;
    this.#hidden = document.hidden ? Date.now() : 0;
    this.#seen = Date.now();
    if (away > AWAY) this.#doubt();
  }

  // doubt reconnects, after a time in which the tab may not have run, if the connection is dead.
  // Timers may run before the events that arrived in that time, so it waits a moment for one.
  #doubt() {
    if (!this.#heartbeat) return this.again(); // no event would show that it lives
    const heard = this.#heard;
    const silent = Date.now() - heard;
    if (silent >= 0 && silent < this.#heartbeat + GRACE) return;
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => { if (this.#heard === heard) this.again(); else this.#watch(); }, GRACE);
  }

  // watch reconnects when too many heartbeats are missing. If its timer is late, the tab did not
  // run, and the connection may be fine.
  #watch() {
    clearTimeout(this.#silence);
    const limit = MISSED * this.#heartbeat;
    this.#heard = Math.min(this.#heard, Date.now()); // the clock may have been set back
    const due = this.#heard + limit;
    this.#silence = setTimeout(() => {
      const now = Date.now();
      if (now - this.#heard < limit) return this.#watch();
      if (now - due > GRACE) return this.#doubt();
      this.#on.state("reconnecting", "");
      this.#connect();
    }, due - Date.now());
  }

  #connect() {
    this.#hangUp();
    const url = new URL("/events", location.href);
    for (const [name, value] of Object.entries(this.#query)) url.searchParams.set(name, value);
    const position = sessionStorage.getItem(POSITION);
    if (position) url.searchParams.set("lastEventId", position);

    this.#announced = false;
    this.#reason = "";
    this.#expect(0);
    const source = new EventSource(url);
    this.#source = source;
    const listen = (type, handle) =>
      source.addEventListener(type, (event) => {
        if (source !== this.#source) return; // an event of a stream that was replaced
        if (event.lastEventId) sessionStorage.setItem(POSITION, event.lastEventId);
        this.#heard = Date.now();
        handle(event.data && JSON.parse(event.data));
      });

    listen("sse.open", ({ resumed, heartbeat }) => {
      clearTimeout(this.#timer);
      this.#delay = FIRST_DELAY;
      this.#down = 0;
      this.#heartbeat = heartbeat ?? 0;
      if (heartbeat) this.#watch();
      this.#on.state("live", "");
      if (!resumed) this.#on.stale(); // it begins now: what came before is in the store
    });
    listen("sse.heartbeat", () => {});
    listen("sse.gap", () => this.#on.stale());
    listen("sse.reconnect", ({ reason, retry = 0 }) => { // the EventSource does so by itself
      this.#unwatch();
      this.#announced = true;
      this.#reason = reason;
      this.#expect(retry);
    });
    listen("sse.close", ({ reason }) => {
      this.close();
      this.#on.ended(reason);
    });
    for (const type of this.types) listen(type, (data) => this.#on.event(type, data));

    source.onerror = () => {
      if (source !== this.#source) return;
      this.#unwatch();
      const refused = source.readyState === EventSource.CLOSED;
      if (this.#announced && !refused) {
        this.#announced = false;
        return;
      }
      this.#reason = "";
      this.#on.state("reconnecting", "");
      if (refused) this.#retry();
      else this.#expect(0);
    };
  }

  // expect waits for sse.open, after a pause that the server has asked for. Without a limit it
  // could wait for ever: HTTP/2 may use a connection that is dead.
  #expect(pause) {
    clearTimeout(this.#timer);
    this.#down ||= Date.now();
    const whole = pause + OPENING + PATIENCE;
    const quiet = Math.max(0, OPENING + Math.min(pause, QUIET) - (Date.now() - this.#down)); // counted from the first of several pauses
    this.#timer = setTimeout(() => {
      this.#on.state("reconnecting", this.#reason);
      this.#timer = setTimeout(() => this.#retry(), whole - quiet);
    }, quiet);
  }

  // Any answer but 200 is final to an EventSource. Others can find out whether the
  // session has ended; if not, the server may be well again later.
  #retry() {
    this.#hangUp();
    const query = this.#query;
    this.#timer = setTimeout(async () => {
      await this.#on.refused();
      if (this.#query === query && !this.#source) this.#connect(); // nobody else did
    }, this.#delay * (0.5 + Math.random()));
    this.#delay = Math.min(2 * this.#delay, LONGEST_DELAY);
  }
}
