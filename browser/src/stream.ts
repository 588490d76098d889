// The stream as the page sees it: handlers, state and topics.

import { isFinal, newConnection, parse, type Message } from "./connection.js";
import type { Link } from "./link.js";
import { newMemory } from "./position.js";
import { newShare } from "./share.js";
import { newFetchTransport } from "./transport.js";
import type { AnyEvent, EventMap, ListenOptions, Options, ServerEvent, State, StateDetail, Stream } from "./types.js";

const PROTOCOL = 2; // of tabs among themselves; tabs of other versions do not share
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
  const wanted = new Map<string, number>(); // how many adds each topic has
  for (const topic of options.topics ?? []) wanted.set(topic, 1);
  const control = options.control as Link | undefined;
  const memory = newMemory(address, [...wanted.keys()], options);

  let position = memory.position();
  let saved = position;
  let state: State = "connecting";
  let detail: StateDetail = { reason: "" };
  let id = "";
  let user = ""; // a mark of the user, from the server
  let running: AbortController | undefined; // aborted when the stream ends
  let suspended = false; // the page is frozen, or in the back/forward cache
  let stale: string | undefined; // the reason, until there is a handler
  const topics = () => [...wanted.keys()].sort(); // another order is no change
  let reading = new Set<string>(); // the topics of the open connection

  // It has events of these names, and one for each event type, behind a colon. An EventTarget calls
  // all handlers, also if one throws, and does what is asked with once and signal.
  const target = new EventTarget();
  const emit = (name: string, ...detail: unknown[]) => target.dispatchEvent(new CustomEvent(name, { detail, cancelable: true }));
  const listen = (name: string, fn: (...detail: any[]) => void, options?: ListenOptions) => {
    const handle = (event: Event) => {
      event.preventDefault(); // it has a handler
      fn(...(event as CustomEvent<unknown[]>).detail);
    };
    target.addEventListener(name, handle, options);
    return () => target.removeEventListener(name, handle);
  };

  const open = (emit: (messages: Message[]) => void) =>
    newConnection(address, options.transport ?? newFetchTransport(options), options, sameIdentity, emit, () => position);
  const source = mayShare(options)
    ? newShare(JSON.stringify(["ginsse", PROTOCOL, address, options.identity, options.credentials, options.topicParameter]), open, () => position, receive)
    : open(receive);

  function receive(messages: Message[]) {
    for (const [kind, first, second, third, fourth, refused] of messages as any[]) {
      if (!running) break; // a handler has closed the stream
      if (kind === "state") setState(first, second, third);
      else if (kind === "open") {
        id = first;
        if (fourth) {
          if (user && user !== fourth) end("signed-out", "another person");
          user = fourth;
        }
        reading = new Set(second);
        emit(kind, refused);
      } else if (kind === "stale") {
        if (emit(kind, first)) stale = first;
      } else {
        if (first) {
          const event: ServerEvent = { type: first, data: parse(second), text: second, id: third };
          emit(":" + first, event.data, event);
          if (!first.startsWith("sse.")) emit("event", event);
        }
        position = third;
      }
    }
    if (running) control?.received(messages);
    if (position !== saved) memory.save((saved = position));
  }

  function setState(to: State, reason: string, status?: number) {
    if (to === state && reason === detail.reason && status === detail.status) return;
    state = to;
    detail = { reason, status };
    if (to !== "live") id = "";
    if (isFinal(to)) {
      running?.abort();
      running = undefined;
    }
    emit("state", to, detail);
  }

  function start() {
    suspended = false;
    source.begin(topics(), state === "live");
  }

  function run() {
    if (!document && !options.fetch) return;
    running = new AbortController();
    const { signal } = running;
    control?.begin(options, signal);
    setState("connecting", "");
    if (document) {
      addEventListener("pagehide", suspend, { signal });
      addEventListener("pageshow", resume, { signal });
      document.addEventListener("freeze", suspend, { signal });
      document.addEventListener("resume", resume, { signal });
      addEventListener("storage", sameIdentity, { signal });
    }
    options.signal?.addEventListener("abort", close, { signal });
    // After the page has added its handlers and topics.
    queueMicrotask(() => !signal.aborted && start());
  }

  function end(to: State, reason: string) {
    if (!running) return;
    source.stop();
    setState(to, reason);
  }

  const close = () => end("closed", "closed");

  function suspend() {
    suspended = true;
    source.stop();
  }

  function resume() {
    if (sameIdentity() && suspended) start();
  }

  /** Ends the stream if another person has signed in. The result is falsy if it has ended. */
  function sameIdentity() {
    if (memory.replaced()) end("signed-out", "another person");
    return running;
  }

  /** Counts an add or a delete of a topic. */
  function count(topic: string, change: number) {
    const adds = (wanted.get(topic) ?? 0) + change;
    if (!wanted.has(topic) && reading.has(topic)) control?.ask(); // another tab has its state
    if (adds > 0) wanted.set(topic, adds);
    else {
      wanted.delete(topic);
      reading.delete(topic);
    }
    if (running && !suspended) source.want(topics());
  }

  function events({ signal }: { signal?: AbortSignal } = {}): AsyncIterableIterator<AnyEvent<Events>> {
    const queue: AnyEvent<Events>[] = [];
    const over = new AbortController();
    const waiting: (() => void)[] = [];
    const wake = () => waiting.splice(0).forEach((resolve) => resolve());
    const finish = () => {
      over.abort();
      wake();
    };
    if (signal?.aborted || isFinal(state)) finish();
    signal?.addEventListener("abort", finish, over);
    listen("state", () => isFinal(state) && finish(), over);
    listen("event", (event) => {
      if (queue.push(event) > MAX_BEHIND) finish();
      else wake();
    }, over);
    const iterator: AsyncIterableIterator<AnyEvent<Events>> = {
      async next() {
        while (!queue.length && !over.signal.aborted) await new Promise<void>((resolve) => waiting.push(resolve));
        const value = queue.shift()!;
        if (queue.length < MAX_BEHIND) return { value, done: !value };
        queue.length = 0;
        throw new Error(`ginsse: ${MAX_BEHIND} events behind`);
      },
      return() {
        finish();
        queue.length = 0;
        return this.next();
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  run();
  if (options.signal?.aborted) close();

  const nameOf = (type: string) => {
    options.transport?.listen?.(type);
    return ":" + type;
  };

  return {
    on: (type, fn, options) => listen(nameOf(type), fn, options),
    once: (type, fn, options) => listen(nameOf(type), fn, { ...options, once: true }),
    onStale(fn, options) {
      const remove = listen("stale", fn, options);
      if (stale !== undefined && !emit("stale", stale)) stale = undefined;
      return remove;
    },
    onState(fn, options) {
      const remove = listen("state", fn, options);
      if (!options?.signal?.aborted) fn(state, detail);
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
        const promise = new Promise<void>((resolve, reject) => {
          const over = new AbortController();
          const check = (refused?: string[]) => {
            if (reading.has(topic) || !wanted.has(topic)) resolve();
            else if (isFinal(state) || refused?.includes(topic)) reject(new Error(`ginsse: stream is ${state}: ${detail.reason || "topic refused"}`));
            else return;
            over.abort();
          };
          listen("open", check, over);
          listen("state", () => check(), over);
          check();
        });
        promise.catch(() => {}); // the page may not wait for it
        return promise;
      },
      delete: (topic) => count(topic, -1),
      has: (topic) => wanted.has(topic),
      [Symbol.iterator]: () => wanted.keys(),
    },
    events,
    [Symbol.asyncIterator]: events,
    reconnect() {
      if (!running) run();
      else if (!suspended) source.reconnect();
    },
    close,
  };
}

const mayShare = ({ transport, share, fetch, headers, identity }: Options) =>
  !!globalThis.navigator?.locks && // browsers that have it have BroadcastChannel
  !transport &&
  (share ?? !(fetch || (headers && !identity)));


