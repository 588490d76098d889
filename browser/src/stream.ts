// The stream as the page sees it: handlers, state and topics.

import { newConnection, type Message } from "./connection.js";
import { newMemory } from "./position.js";
import { newShare, type Source } from "./share.js";
import { newEventSourceTransport, newFetchTransport } from "./transport.js";
import type { AnyEvent, EventMap, ListenOptions, Options, ServerEvent, State, StateDetail, Stream } from "./types.js";

const PROTOCOL = 1; // of tabs among themselves; tabs of other versions do not share
const MAX_BEHIND = 10_000; // events that a loop may be behind

/**
 * Opens a stream, and keeps it open until it is closed or ends.
 *
 * It comes back by itself after a lost or dead connection, a restart of the server, a sleep of the
 * device and a reload of the page, and continues after the last event. All tabs share one
 * connection where the browser can do that. Without a document, as in server rendering, it does
 * nothing, unless `options.fetch` is set.
 */
export function connect<Events extends EventMap = Record<string, any>>(url: string | URL, options: Options = {}): Stream<Events> {
  const { document } = globalThis;
  const address = new URL(url, document?.baseURI ?? "http://localhost");
  const memory = newMemory(address.href, options);
  const native = options.transport === "eventsource" ? newEventSourceTransport(options) : undefined;

  let position = memory.position();
  let saved = position;
  let state: State = "connecting";
  let detail: StateDetail = { reason: "" };
  let id = "";
  let running = false;
  let suspended = false; // the page is frozen, or in the back/forward cache
  let stale: string | undefined; // the reason, until there is a handler
  const handlers = new Map<string, Set<Call>>();
  const all = new Set<Call>(); // of loops
  const states = new Set<Call>();
  const stales = new Set<Call>();
  const ends = new Set<Call>(); // what waits for the stream

  const wanted = new Map<string, number>(); // how many adds each topic has
  let reading = new Set<string>(); // the topics of the open connection
  const topicsRead = new Set<Call>();

  for (const topic of options.topics ?? []) wanted.set(topic, 1);

  const open = (emit: (messages: Message[]) => void) =>
    newConnection(address, native?.transport ?? newFetchTransport(options), options, memory, emit);
  const source = mayShare(options)
    ? newShare(`ginsse ${PROTOCOL} ${JSON.stringify([address.href, options.identity])} `, open, () => position, receive)
    : alone(open(receive), () => position);

  function receive(messages: Message[]) {
    for (const message of messages) {
      if (!running) break; // a handler has closed the stream
      if (message[0] === "state") setState(message[1], { reason: message[2], ...(message[3] && { status: message[3] }) });
      else if (message[0] === "open") {
        id = message[1];
        reading = new Set(message[2]);
        call(topicsRead);
      } else if (message[0] === "stale") {
        if (!stales.size) stale = message[1];
        call(stales, message[1]);
      } else if (message[0] === "event") {
        const [, type, text, eventID] = message;
        const own = handlers.get(type);
        if (own?.size || all.size) {
          const event: ServerEvent = { type, data: parse(text), text, id: eventID };
          if (own) call(own, event.data, event);
          call(all, event);
        }
        position = eventID;
      } else position = message[1];
    }
    if (position !== saved) memory.save((saved = position));
  }

  function setState(to: State, why: StateDetail) {
    if (to === state && why.reason === detail.reason && why.status === detail.status) return;
    state = to;
    detail = why;
    if (to !== "live") id = "";
    if (to === "closed" || to === "signed-out") {
      running = false;
      call(ends);
    }
    call(states, state, detail);
  }

  function start() {
    running = true;
    suspended = false;
    source.start([...wanted.keys()], state === "live");
  }

  function end(to: State, reason: string) {
    if (!running) return;
    source.stop();
    setState(to, { reason });
  }

  const suspend = () => {
    if (!running || suspended) return;
    suspended = true;
    source.stop();
  };
  const resume = () => {
    if (!suspended || !running) return;
    if (memory.replaced()) end("signed-out", "another person");
    else start();
  };
  const close = () => end("closed", "closed");

  if (document || options.fetch) {
    if (document) {
      addEventListener("pagehide", suspend);
      addEventListener("pageshow", resume);
      document.addEventListener("freeze", suspend);
      document.addEventListener("resume", resume);
      addEventListener("storage", () => memory.replaced() && end("signed-out", "another person"));
    }
    running = true;
    options.signal?.addEventListener("abort", close);
    queueMicrotask(() => (options.signal?.aborted ? close() : running && start())); // after the handlers were added
  }

  const final = () => state === "closed" || state === "signed-out";

  /** Resolves when done accepts a call of calls; rejects when the stream ends. */
  function wait<T>(calls: Set<Call>, done: (...args: any[]) => T | undefined, signal?: AbortSignal): Promise<T> {
    const settled = new AbortController();
    const promise = new Promise<T>((resolve, reject) => {
      const fail = () => reject(signal?.aborted ? signal.reason : new Error(`ginsse: the stream is ${state}: ${detail.reason}`));
      if (signal?.aborted || final()) return fail();
      signal?.addEventListener("abort", fail, settled);
      add(ends, fail, settled);
      add(calls, (...args) => {
        const value = done(...args);
        if (value !== undefined) resolve(value);
      }, settled);
    }).finally(() => settled.abort());
    promise.catch(() => {}); // the page may not care
    return promise;
  }

  const handlersOf = (type: string) => {
    native?.listen(type);
    const own = handlers.get(type) ?? new Set();
    handlers.set(type, own);
    return own;
  };

  /** Counts an add or a delete of a topic. */
  function count(topic: string, change: number) {
    const now = (wanted.get(topic) ?? 0) + change;
    if (now > 0) wanted.set(topic, now);
    else {
      wanted.delete(topic);
      reading.delete(topic);
    }
    if (running) source.read([...wanted.keys()]);
  }

  function events({ signal }: { signal?: AbortSignal } = {}): AsyncIterableIterator<AnyEvent<Events>> {
    const queue: ServerEvent[] = [];
    const over = new AbortController();
    let tooFar = false;
    let wake = () => {};
    const finish = () => {
      over.abort();
      wake();
    };
    if (signal?.aborted || final()) finish();
    signal?.addEventListener("abort", finish, over);
    add(ends, finish, over);
    add(all, (event: ServerEvent) => {
      tooFar = queue.push(event) > MAX_BEHIND;
      if (tooFar) finish();
      else wake();
    }, over);
    return {
      async next() {
        while (!queue.length && !over.signal.aborted) await new Promise<void>((resolve) => (wake = resolve));
        if (tooFar) {
          queue.length = 0;
          tooFar = false;
          throw new Error(`ginsse: the loop is ${MAX_BEHIND} events behind`);
        }
        const value = queue.shift() as AnyEvent<Events> | undefined;
        return value ? { value, done: false } : { value, done: true };
      },
      async return() {
        queue.length = 0;
        finish();
        return { value: undefined, done: true };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  return {
    on: (type, fn, options) => add(handlersOf(type), fn, options),
    once: (type, { signal } = {}) => wait(handlersOf(type), (_, event) => event, signal),
    onStale(fn, options) {
      const remove = add(stales, fn, options);
      if (stale !== undefined) call(stales, stale);
      stale = undefined;
      return remove;
    },
    onState(fn, options) {
      const remove = add(states, fn, options);
      call(new Set([fn]), state, detail);
      return remove;
    },
    get state() {
      return state;
    },
    get id() {
      return id;
    },
    topics: {
      add(topic) {
        count(topic, 1);
        return reading.has(topic) ? Promise.resolve() : wait(topicsRead, () => reading.has(topic) || undefined).then(() => {});
      },
      delete: (topic) => count(topic, -1),
      has: (topic) => wanted.has(topic),
      [Symbol.iterator]: () => wanted.keys(),
    },
    events,
    [Symbol.asyncIterator]: () => events(),
    reconnect() {
      if (running && !suspended) source.reconnect();
      else if (final()) start();
    },
    close,
  };
}

type Call = (...args: any[]) => void;

function add(calls: Set<Call>, fn: Call, { once, signal }: ListenOptions = {}) {
  const entry: Call = (...args) => {
    if (once) remove();
    fn(...args);
  };
  const remove = () => {
    calls.delete(entry);
    signal?.removeEventListener("abort", remove);
  };
  if (!signal?.aborted) {
    calls.add(entry);
    signal?.addEventListener("abort", remove);
  }
  return remove;
}

/** Calls all, also if one throws. */
function call(calls: Set<Call>, ...args: unknown[]) {
  for (const fn of [...calls]) {
    try {
      fn(...args);
    } catch (error) {
      reportError(error); // as an uncaught exception
    }
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const mayShare = ({ transport, share, fetch, headers, identity }: Options) =>
  !!globalThis.navigator?.locks &&
  !!globalThis.BroadcastChannel &&
  transport !== "eventsource" &&
  (share ?? !(fetch || (headers && !identity)));

/** A source with a connection of its own. */
const alone = (connection: ReturnType<typeof newConnection>, position: () => string): Source => ({
  ...connection,
  start: (topics, quiet) => connection.start(position(), topics, quiet),
});
