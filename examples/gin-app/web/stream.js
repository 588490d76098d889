// The event stream of this tab.

const POSITION = "lastEventId"; // in sessionStorage: survives a reload of this tab
const FIRST_DELAY = 1000;
const LONGEST_DELAY = 30_000;
const OPENING = 3000; // what a connection may take without a word about it,
const PATIENCE = 30_000; // and how much longer until it is given up
const WATCH = 10_000;
const SLEPT = 3 * WATCH; // without a look means that nothing has run meanwhile,
const SLEPT_HIDDEN = 150_000; // and in a hidden tab, whose timers run once a minute, this
const AWAY = 60_000; // hidden for so long, a tab makes sure of its connection

// A Stream keeps an EventSource open, and resumes where this tab has read to. An
// EventSource reconnects by itself, with the last event ID it has, as long as it is
// not CLOSED; a new one, after a reload or for another post, must be told the ID.
//
// It calls state("live" | "reconnecting"), event(type, data) for what the application
// sends, stale() when the page must ask the server for everything again, await
// refused() before it tries again after a refusal, and ended(reason) when the server
// says not to come back: it is closed then.
export class Stream {
  #on;
  #source = null;
  #query = null; // what the stream was opened with; null while it is closed
  #delay = FIRST_DELAY;
  #timer = 0;
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
    this.#source?.close();
    this.#source = null;
  }

  // A laptop that has slept may hold a connection that is long gone, and whose end
  // it will not hear of.
  #notice() {
    const slept = Date.now() - this.#seen > (this.#hidden ? SLEPT_HIDDEN : SLEPT);
    this.#seen = Date.now();
    if (slept) this.again();
  }

  #turned() {
    const away = this.#hidden ? Date.now() - this.#hidden : 0;
    this.#hidden = document.hidden ? Date.now() : 0;
    this.#seen = Date.now();
    if (away > AWAY) this.again();
  }

  #connect() {
    this.#hangUp();
    const url = new URL("/events", location.href);
    for (const [name, value] of Object.entries(this.#query)) url.searchParams.set(name, value);
    const position = sessionStorage.getItem(POSITION);
    if (position) url.searchParams.set("lastEventId", position);

    this.#expect();
    const source = new EventSource(url);
    this.#source = source;
    const listen = (type, handle) =>
      source.addEventListener(type, (event) => {
        if (source !== this.#source) return; // an event of a stream that was replaced
        if (event.lastEventId) sessionStorage.setItem(POSITION, event.lastEventId);
        handle(JSON.parse(event.data));
      });

    listen("sse.open", ({ resumed }) => {
      clearTimeout(this.#timer);
      this.#delay = FIRST_DELAY;
      this.#on.state("live");
      if (!resumed) this.#on.stale(); // it begins now: what came before is in the store
    });
    listen("sse.gap", () => this.#on.stale());
    listen("sse.close", ({ reason, reconnect }) => {
      if (reconnect) return; // the EventSource does, when the connection ends
      this.close();
      this.#on.ended(reason);
    });
    for (const type of this.types) listen(type, (data) => this.#on.event(type, data));

    source.onerror = () => {
      if (source !== this.#source) return;
      this.#on.state("reconnecting");
      if (source.readyState === EventSource.CLOSED) this.#retry();
      else this.#expect();
    };
  }

  // A connection may be made over one that is long gone, and wait there for ever.
  #expect() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#on.state("reconnecting");
      this.#timer = setTimeout(() => this.#retry(), PATIENCE);
    }, OPENING);
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
