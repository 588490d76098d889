// A server in memory, for tests of pages.

import type { EventMap, TypeOf } from "./types.js";

export interface FakeServerOptions {
  /** The longest silence, in milliseconds; 0 for no heartbeats. Default 15,000, as the kit's. */
  heartbeat?: number;
  /** The reconnection time that streams name, in milliseconds. Default 100: tests need not wait. */
  retry?: number;
  /** The query parameter that carries each topic. Default "topic". */
  topicParameter?: string;
  /** Reports whether the person may read a topic. Default: all. */
  allowTopic?: (topic: string) => boolean;
  /**
   * Returns the state that the server sends first, as pairs of event type and data: for "" what is the
   * person's own, and for each topic. Default: the server sends no state.
   */
  state?: (topic: string) => [type: string, data: unknown][];
}

/** A request for a stream, as the server saw it. */
export interface FakeRequest {
  readonly url: URL;
  readonly headers: Headers;
  readonly topics: readonly string[];
  /** The position to resume from; "" if the request has none. */
  readonly lastEventID: string;
}

/** A request to change a stream, as the server saw it. */
export interface FakeControl {
  readonly url: URL;
  readonly headers: Headers;
  readonly stream: string;
  readonly add: readonly string[];
  readonly remove: readonly string[];
  readonly state: boolean;
}

export interface Refusal {
  /** 302 is a redirect to a page to sign in, which fetch follows; 200 is a page too. */
  status: number;
  /** The Retry-After header: seconds, or a date. */
  retryAfter?: number | Date;
  /** How many requests are refused. Default 1; Infinity for all, 0 for no more. */
  times?: number;
}

/**
 * A server with a log of events, whose streams are of one person. What it sends is what a server of
 * the kit sends. It uses timers for heartbeats alone.
 */
export interface FakeServer<Events extends EventMap = Record<string, any>> {
  /** The fetch to give to `connect`, in its options. */
  readonly fetch: typeof fetch;
  /** All requests so far. */
  readonly requests: readonly FakeRequest[];
  /** All requests of `control()` so far: those with POST, to any URL. */
  readonly controls: readonly FakeControl[];
  /** How many streams are open. */
  readonly connections: number;
  /** Resolves when a stream is open and its client knows, with its request. */
  connected(): Promise<FakeRequest>;
  /** Resolves when the clients have handled everything that was sent on open streams. */
  settled(): Promise<void>;
  /**
   * Sends an event to all streams, or to those that read the topic. A client that is away gets it
   * when it resumes. Resolves as `settled`, with the event's ID.
   */
  push<Type extends TypeOf<Events>>(type: Type, data: Events[Type], topic?: string): Promise<string>;
  /**
   * Loses all events so far: streams get sse.gap, now or when they resume from before. The default
   * reason is "trimmed".
   */
  gap(reason?: string): Promise<void>;
  /** The open streams read a topic, as by the kit's Grant. */
  grant(topic: string): Promise<void>;
  /** The open streams read a topic no more, as by the kit's Revoke. */
  revoke(topic: string): Promise<void>;
  /** Ends the open streams with sse.close. The default reason is "disconnected". */
  close(reason?: string): Promise<void>;
  /** Ends the open streams with sse.reconnect. The default reason is "shutdown". */
  reconnect(end?: { reason?: string; retry?: number }): Promise<void>;
  /** Breaks the open connections. */
  drop(): void;
  /** Breaks the open connections and allows no other, until offline(false) fires "online". */
  offline(offline: boolean): void;
  /** Keeps the open connections open but silent, as if the network had forgotten them. */
  freeze(): void;
  /** Refuses the next requests for a stream. */
  refuse(refusal: Refusal): void;
  /** Refuses the next requests of `control()`. */
  refuseControl(refusal: Refusal): void;
}

interface Entry {
  seq: number;
  type: string;
  text: string;
  topic?: string | undefined;
}

interface Connection {
  readonly id: string;
  readonly topics: Set<string>;
  readonly request: FakeRequest;
  readonly frozen: boolean;
  readonly ending: boolean;
  /** Reports whether the client has handled all that was sent, and reads on. */
  readonly idle: boolean;
  send(blocks: string, last?: boolean): void;
  freeze(): void;
  drop(): void;
}

let servers = 0; // no server takes the position of another one for its own

/**
 * Returns a server in memory. The page's own code runs, and the real client:
 *
 *     const server = newFakeServer();
 *     const stream = connect("/events", { fetch: server.fetch });
 *     await server.connected();
 *     await server.push("comment", { text: "hello" }); // the handlers have been called
 *
 * With fake timers, do not advance by more than two heartbeats at once without letting promises
 * run, or set `heartbeat: 0`: the client would take the connection for dead.
 */
export function newFakeServer<Events extends EventMap = Record<string, any>>(options: FakeServerOptions = {}): FakeServer<Events> {
  const { heartbeat = 15_000, retry = 100, topicParameter = "topic", allowTopic = () => true, state } = options;
  const epoch = ++servers;
  const log: Entry[] = [];
  let head = 0; // the sequence number of the newest event
  let lost = 0; // events up to here are lost,
  let lostReason = ""; // because of this
  let streams = 0; // opened so far
  let offline = false;
  let refusal: Refusal = { status: 503, times: 0 };
  let controlRefusal = refusal;
  const requests: FakeRequest[] = [];
  const controls: FakeControl[] = [];
  const connections = new Set<Connection>();
  const waiting = new Set<() => void>(); // called after each change

  const idAt = (seq: number) => `${epoch}-${seq}`;

  /** Returns the first blocks of a stream. */
  function open({ lastEventID }: FakeRequest, stream: string, topics: Set<string>): string {
    const [, theirs, seq = ""] = /^(\d+)-(\d+)$/.exec(lastEventID) ?? [];
    const known = theirs === String(epoch) && +seq <= head;
    const gap = !lastEventID ? "" : !known ? "unknown" : +seq < lost ? lostReason : "";
    const resumed = lastEventID !== "" && !gap;
    const at = resumed ? +seq : head;
    const first = resumed ? "" : stateOf("", ...topics);
    const data = { stream, resumed, ...(heartbeat && { heartbeat }), ...(topics.size && { topics: [...topics].sort() }) };
    // Only what comes last carries the new position: without it, the client must get all again.
    return (
      `retry: ${retry}\n` +
      block("sse.open", data, gap || first ? "" : idAt(at)) +
      (gap && block("sse.gap", { reason: gap }, first ? "" : idAt(at))) +
      first +
      (first && block("sse.heartbeat", "", idAt(at))) +
      log.filter((entry) => entry.seq > at && reads(topics, entry)).map(blockOf).join("")
    );
  }

  /** Returns the state of topics, without an ID. */
  const stateOf = (...topics: string[]) => topics.flatMap((topic) => state?.(topic) ?? []).map(([type, data]) => block(type, data)).join("");

  const reads = (topics: Set<string>, { topic }: Entry) => topic === undefined || topics.has(topic);
  const blockOf = ({ type, text, seq }: Entry) => block(type, text, idAt(seq));

  function accept(request: FakeRequest, signal: AbortSignal | null | undefined): Response {
    const utf8 = new TextEncoder();
    let unsent = "";
    let idle = false;
    let frozen = false;
    let ending = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let controller!: ReadableStreamDefaultController<Uint8Array>;

    // The stream pulls when the client waits for bytes: then it has handled those before.
    const body = new ReadableStream<Uint8Array>(
      {
        start: (c) => void (controller = c),
        pull() {
          idle = true;
          flush();
        },
        cancel: remove,
      },
      { highWaterMark: 0 },
    );

    function flush() {
      if (idle && unsent) {
        idle = false;
        controller.enqueue(utf8.encode(unsent));
        unsent = "";
      } else if (idle && ending) {
        remove();
        controller.close();
      }
      changed();
    }

    function remove() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      connections.delete(connection);
      changed();
    }

    function fail(reason: unknown) {
      remove();
      controller.error(reason);
    }

    const abort = () => fail(signal!.reason);

    function beat() {
      clearTimeout(timer);
      if (!heartbeat || ending || frozen) return;
      timer = setTimeout(() => connection.send(block("sse.heartbeat", "", idAt(head))), heartbeat);
      (timer as unknown as { unref?(): void }).unref?.(); // it does not keep a test's process alive
    }

    const topics = new Set(request.topics.filter(allowTopic));
    const connection: Connection = {
      id: `stream-${++streams}`,
      topics,
      request,
      get frozen() {
        return frozen;
      },
      get ending() {
        return ending;
      },
      get idle() {
        return idle;
      },
      send(blocks, last = false) {
        if (frozen || ending) return;
        unsent += blocks;
        ending = last;
        beat();
        flush();
      },
      freeze() {
        frozen = true;
        clearTimeout(timer);
        changed();
      },
      drop: () => fail(new TypeError("network error")),
    };
    signal?.addEventListener("abort", abort);
    connections.add(connection);
    connection.send(open(request, connection.id, topics));
    return new Response(body, { headers: { "Content-Type": "text/event-stream", "Cache-Control": "no-store" } });
  }

  function changed() {
    for (const check of [...waiting]) check();
  }

  /** Resolves with the first value of get that is not undefined. */
  function when<T>(get: () => T | undefined): Promise<T> {
    return new Promise((resolve) => {
      const check = () => {
        const value = get();
        if (value === undefined) return;
        waiting.delete(check);
        resolve(value);
      };
      waiting.add(check);
      check();
    });
  }

  const sendAll = (blocks: string, last = false) => connections.forEach((connection) => connection.send(blocks, last));
  const dropAll = () => connections.forEach((connection) => connection.drop());

  /** Has a stream read a topic, or read it no more. What the client asks for is answered in any case. */
  function change({ topics, send }: Connection, topic: string, add: boolean, asked = false) {
    const changes = topics.has(topic) !== add;
    if (!changes && !(asked && add)) return;
    if (add) topics.add(topic);
    else topics.delete(topic);
    const data = { topics: [...topics].sort(), ...(changes && { [add ? "added" : "removed"]: [topic] }) };
    send(block("sse.topics", data, idAt(++head)) + (changes && add ? stateOf(topic) : ""));
  }

  /** Answers a request to change a stream. */
  function carryOut({ stream, add, remove, state: wanted }: FakeControl): Response {
    const accepted = add.filter(allowTopic);
    const refused = add.filter((topic) => !accepted.includes(topic));
    for (const connection of connections) {
      if (connection.id !== stream) continue;
      for (const topic of remove) change(connection, topic, false);
      for (const topic of accepted) change(connection, topic, true, true);
      if (wanted) connection.send(stateOf("", ...connection.topics) + block("sse.heartbeat", "", idAt(head)));
    }
    return new Response(JSON.stringify({ accepted, refused }), { status: 202, headers: { "Content-Type": "application/json" } });
  }

  const server: FakeServer<Events> = {
    async fetch(input, init) {
      const from = typeof input === "object" && "url" in input ? input : undefined;
      const url = new URL(from?.url ?? String(input));
      const headers = new Headers(init?.headers ?? from?.headers);
      const signal = init?.signal ?? from?.signal;
      signal?.throwIfAborted();
      if ((init?.method ?? from?.method) === "POST") {
        const { stream, add = [], remove = [], state = false } = JSON.parse(String(init?.body ?? (await from!.text())));
        const control = { url, headers, stream, add, remove, state };
        controls.push(control);
        if (offline) throw new TypeError("network error");
        const { status, retryAfter, times = 1 } = controlRefusal;
        if (times < 1) return carryOut(control);
        controlRefusal = { ...controlRefusal, times: times - 1 };
        return refuse(status, retryAfter);
      }
      const request: FakeRequest = {
        url,
        headers,
        topics: url.searchParams.getAll(topicParameter),
        lastEventID: url.searchParams.get("lastEventId") ?? utf8Of(headers.get("Last-Event-ID") ?? ""),
      };
      requests.push(request);
      if (offline) throw new TypeError("network error");
      const { status, retryAfter, times = 1 } = refusal;
      if (times < 1) return accept(request, signal);
      refusal = { ...refusal, times: times - 1 };
      return refuse(status, retryAfter);
    },
    requests,
    controls,
    get connections() {
      return [...connections].filter(({ ending }) => !ending).length;
    },
    connected: () => when(() => [...connections].find(({ idle, frozen, ending }) => idle && !frozen && !ending)?.request),
    settled: () => when(() => ([...connections].every(({ idle, frozen }) => idle || frozen) ? true : undefined)).then(() => {}),
    async push(type, data, topic) {
      if (type.startsWith("sse.")) throw new Error(`ginsse: the type ${type} is reserved`);
      const entry: Entry = { seq: ++head, type, text: textOf(data), topic };
      log.push(entry);
      for (const connection of connections) if (reads(connection.topics, entry)) connection.send(blockOf(entry));
      await server.settled();
      return idAt(entry.seq);
    },
    gap(reason = "trimmed") {
      lost = ++head;
      lostReason = reason;
      for (const connection of connections) {
        const first = stateOf("", ...connection.topics);
        connection.send(block("sse.gap", { reason }, first ? "" : idAt(head)) + first + (first && block("sse.heartbeat", "", idAt(head))));
      }
      return server.settled();
    },
    grant(topic) {
      connections.forEach((connection) => change(connection, topic, true));
      return server.settled();
    },
    revoke(topic) {
      connections.forEach((connection) => change(connection, topic, false));
      return server.settled();
    },
    close(reason = "disconnected") {
      sendAll(block("sse.close", { reason }), true);
      return server.settled();
    },
    reconnect({ reason = "shutdown", retry: wait = retry } = {}) {
      sendAll(`retry: ${wait}\n${block("sse.reconnect", { reason, retry: wait })}`, true);
      return server.settled();
    },
    drop: dropAll,
    offline(now) {
      offline = now;
      if (now) dropAll();
      else if (typeof dispatchEvent === "function") dispatchEvent(new Event("online"));
    },
    freeze: () => connections.forEach((connection) => connection.freeze()),
    refuse(next) {
      refusal = next;
    },
    refuseControl(next) {
      controlRefusal = next;
    },
  };
  return server;
}

/** Returns an event in wire form. */
function block(type: string, data: unknown, id = "") {
  const lines = textOf(data).split(/\r\n?|\n/);
  return `event: ${type}\n${lines.map((line) => `data: ${line}\n`).join("")}${id && `id: ${id}\n`}\n`;
}

/** Text goes as it is, other values as JSON. */
const textOf = (data: unknown) => (typeof data === "string" ? data : JSON.stringify(data) ?? "");

/** Returns the text whose UTF-8 bytes are the characters of a header. */
const utf8Of = (header: string) => new TextDecoder().decode(Uint8Array.from(header, (char) => char.charCodeAt(0)));

function refuse(status: number, retryAfter: number | Date | undefined): Response {
  const page = status === 200 || status === 302;
  const response = new Response([204, 205, 304].includes(status) ? null : "refused", {
    status: page ? 200 : status,
    headers: {
      "Content-Type": page ? "text/html" : "text/plain",
      ...(retryAfter !== undefined && { "Retry-After": retryAfter instanceof Date ? retryAfter.toUTCString() : String(retryAfter) }),
    },
  });
  if (status === 302) Object.defineProperty(response, "redirected", { value: true });
  return response;
}
