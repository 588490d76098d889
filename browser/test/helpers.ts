// What the unit tests have in place of a browser: a clock, a page, the server of ginsse/testing.

import { test } from "node:test";
import { connect, type Options, type Stream } from "../src/ginsse.js";
import { newFakeServer, type FakeServer, type FakeServerOptions } from "../src/testing.js";

const turn = () => new Promise<void>((resolve) => setImmediate(resolve)); // all promises have run

const real = { setTimeout, clearTimeout, now: Date.now };

/** Timers and Date.now, which move when the test says so. */
export class Clock {
  #now = 0;
  #wall = Date.UTC(2030, 0, 1);
  #timers = new Map<number, { at: number; fn: () => void }>();
  #last = 0;

  install() {
    globalThis.setTimeout = ((fn: () => void, wait = 0) => {
      this.#timers.set(++this.#last, { at: this.#now + Math.max(1, wait || 0), fn });
      return this.#last;
    }) as unknown as typeof setTimeout;
    globalThis.clearTimeout = ((id: number) => void this.#timers.delete(id)) as typeof clearTimeout;
    Date.now = () => this.#wall + this.#now;
  }

  uninstall() {
    globalThis.setTimeout = real.setTimeout;
    globalThis.clearTimeout = real.clearTimeout;
    Date.now = real.now;
  }

  /** How many timers are set. */
  get timers() {
    return this.#timers.size;
  }

  get now() {
    return this.#now;
  }

  /** Lets time pass: each timer runs when it is due, and promises after each. */
  async advance(milliseconds: number) {
    const end = this.#now + milliseconds;
    await turn();
    for (let due; (due = this.#due(end)); await turn()) {
      this.#now = Math.max(this.#now, due.at);
      due.fn();
    }
    this.#now = end;
    await turn();
  }

  /** Lets time pass while the page does not run: the timers that are due then run late. */
  async sleep(milliseconds: number) {
    this.#now += milliseconds;
    await this.advance(0);
  }

  /** Sets the device's clock forward, or back. */
  set(milliseconds: number) {
    this.#wall += milliseconds;
  }

  #due(end: number) {
    const [first] = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at);
    if (first) this.#timers.delete(first[0]);
    return first?.[1];
  }
}

/** An EventTarget that counts its listeners. */
export class Target extends EventTarget {
  readonly listening = new Map<string, Set<unknown>>();

  override addEventListener(type: string, fn: any, options?: any) {
    if (options?.signal?.aborted) return;
    super.addEventListener(type, fn, options);
    this.listening.set(type, (this.listening.get(type) ?? new Set()).add(fn));
    options?.signal?.addEventListener("abort", () => this.listening.get(type)?.delete(fn));
  }

  override removeEventListener(type: string, fn: any, options?: any) {
    super.removeEventListener(type, fn, options);
    this.listening.get(type)?.delete(fn);
  }

  /** The types that have a listener, sorted. */
  get listeners() {
    return [...this.listening].filter(([, set]) => set.size).map(([type]) => type).sort();
  }

  fire(type: string, properties = {}) {
    this.dispatchEvent(Object.assign(new Event(type), properties));
  }
}

/** A page at https://example.com/. */
export class Page {
  readonly window = new Target();
  readonly document = Object.assign(new Target(), { hidden: false, baseURI: "https://example.com/page" });
  readonly sessionStorage: Record<string, string> = {};
  readonly localStorage: Record<string, string> = {};

  /** Puts the page in the place of globals. A reload has the storage of the page before it. */
  install(after?: Page) {
    const { window, document } = this;
    Object.assign(globalThis, {
      document,
      location: { origin: "https://example.com" },
      sessionStorage: after?.sessionStorage ?? this.sessionStorage,
      localStorage: after?.localStorage ?? this.localStorage,
      addEventListener: window.addEventListener.bind(window),
      removeEventListener: window.removeEventListener.bind(window),
      dispatchEvent: window.dispatchEvent.bind(window),
    });
  }

  uninstall() {
    for (const name of ["document", "location", "sessionStorage", "localStorage", "addEventListener", "removeEventListener", "dispatchEvent"]) {
      delete (globalThis as any)[name];
    }
  }
}

const TIMEOUT = 30_000; // of a test that hangs, in real milliseconds

/** What a test works with. */
export interface Bench {
  clock: Clock;
  page: Page;
  server: FakeServer;
  errors: unknown[]; // on the console
  /** Connects to the server, and records what the stream does. */
  open(options?: Options & { server?: FakeServer; url?: string }): Recorded;
}

export interface Recorded {
  stream: Stream;
  states: string[]; // with reason and status
  stale: string[];
  events: string[]; // type and text
}

export interface BenchOptions extends FakeServerOptions {
  /** Whether there is a page. Default true. */
  page?: boolean;
}

/** Defines a test with a clock of its own. Its streams must leave no connection open. */
export function bench(name: string, { page: hasPage = true, ...options }: BenchOptions, fn: (bench: Bench) => Promise<void>) {
  test(name, { timeout: TIMEOUT }, async () => {
    // Otherwise node takes a promise that hangs for the end of all tests.
    const alive = setTimeout(() => {}, TIMEOUT);
    const clock = new Clock();
    const page = new Page();
    const server = newFakeServer({ retry: 1000, ...options });
    const errors: unknown[] = [];
    const streams: Stream[] = [];
    const random = Math.random;
    const { error } = console;
    console.error = (...args) => void errors.push(args.at(-1));
    clock.install();
    if (hasPage) page.install();
    try {
      await fn({
        clock,
        page,
        server,
        errors,
        open({ server: other = server, url = "/events", ...rest } = {}) {
          const stream = connect(url, { fetch: other.fetch, ...rest });
          streams.push(stream);
          return { stream, ...record(stream) };
        },
      });
      streams.forEach((stream) => stream.close());
      await clock.advance(60_000);
      if (server.connections) throw new Error(`${server.connections} connections are open after close()`);
    } finally {
      real.clearTimeout(alive);
      streams.forEach((stream) => stream.close());
      await turn();
      page.uninstall();
      clock.uninstall();
      Math.random = random;
      console.error = error;
    }
  });
}

function record(stream: Stream) {
  const states: string[] = [];
  const stale: string[] = [];
  const events: string[] = [];
  stream.onState((state, { reason, status }) => states.push([state, reason, status].filter(Boolean).join(" ")));
  stream.onStale((reason) => stale.push(reason));
  for (const type of ["message", "comment", "badge"]) stream.on(type, (_, event) => events.push(`${event.type} ${event.text}`));
  return { states, stale, events };
}

/** Returns a fetch that answers as told once, and then as the other does. */
export function first(answer: (url: URL, init: RequestInit) => Response | Promise<Response>, then: typeof fetch): typeof fetch {
  let asked = false;
  return (input, init) => {
    if (asked) return then(input, init);
    asked = true;
    return Promise.resolve(answer(new URL(String(input)), init ?? {}));
  };
}

/** A response that the test writes itself. */
export function rawResponse(headers: HeadersInit = { "Content-Type": "text/event-stream" }) {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({ start: (c) => void (controller = c) });
  return {
    response: new Response(body, { headers }),
    write: (text: string) => controller.enqueue(new TextEncoder().encode(text)),
    end: () => controller.close(),
    fail: () => controller.error(new TypeError("network error")),
  };
}
