import type { Transport } from "./transport.js";

/** Event types and what the `data` of each is, after JSON.parse. */
// An interface has no index signature, so `object` is all that can be asked of it.
export type EventMap = object;

/** Events of the kit that the page may listen to. A loop does not get them. */
export interface KitEvents {
  /**
   * The stream was opened, for the first time or again: who is present follows anew. `topics` are those
   * that it reads.
   */
  "sse.open": { stream: string; resumed: boolean; heartbeat?: number; topics?: string[] };
  /** The stream reads other topics from here on. */
  "sse.topics": {
    /** All topics that the stream reads. */
    topics: string[];
    added?: string[];
    removed?: string[];
    /** Topics that were asked for, and are not read. */
    refused?: string[];
  };
  /** Who is present at a topic. */
  "sse.present": { topic: string; count: number; users: { user: string; value?: any }[] };
  "sse.join": { topic: string; user: string; value?: any; count: number };
  "sse.leave": { topic: string; user: string; count: number };
}

/** The events that the page may listen to, by their types. */
export type Listened<Events extends EventMap> = Events & KitEvents;

/** The event types of a map. */
export type TypeOf<Events> = keyof Events & string;

/** One event of the application. */
export interface ServerEvent<Data = unknown, Type extends string = string> {
  /** The event type; "message" if the server gave none. */
  readonly type: Type;
  /** The parsed JSON, or the text if it is not JSON. Tabs and handlers share it: do not change it. */
  readonly data: Data;
  /** The data as it was sent. */
  readonly text: string;
  /** The last event ID when the event arrived; "" if the server gives none. */
  readonly id: string;
}

/** The events of a map, as a union that `event.type` narrows. */
export type AnyEvent<Events extends EventMap> = {
  [Type in TypeOf<Events>]: ServerEvent<Events[Type], Type>;
}[TypeOf<Events>];

export type Handler<Events extends EventMap, Type extends TypeOf<Events>> = (
  data: Events[Type],
  event: ServerEvent<Events[Type], Type>,
) => void;

/**
 * - `connecting`: not connected yet.
 * - `live`: connected.
 * - `reconnecting`: the connection was lost; the next attempt follows by itself.
 * - `signed-out`: the server refused the credential, or another person signed in. Final.
 * - `closed`: ended by the server or by `close()`. Final.
 *
 * A final state ends with `reconnect()`, or with a new `connect()`.
 */
export type State = "connecting" | "live" | "reconnecting" | "signed-out" | "closed";

/** Why the stream is in its state. */
export interface StateDetail {
  /** The reason that the server sent, or one of those in the README; "" in the states connecting and live. */
  readonly reason: string;
  /** The HTTP status, if one was the reason. */
  readonly status?: number | undefined;
}

export interface ListenOptions {
  /** Call the handler once at most. */
  once?: boolean;
  /** Removes the handler when it is aborted. */
  signal?: AbortSignal;
}

/**
 * Changes an open stream by requests: see `control()` of ginsse/control. Each stream needs one of its
 * own.
 */
export interface Control {
  /**
   * Asks the server to keep the stream as long as the credential of now allows, which the server
   * checks as it does for a stream. Call it in each tab or in one, when the page has renewed the
   * credential. Each other request does the same.
   */
  renew(): void;
}

export interface Options {
  /** Topics to begin with. See `Stream.topics`. */
  topics?: Iterable<string>;
  /** The query parameter that carries each topic. Default "topic". */
  topicParameter?: string;
  /**
   * Returns headers for a request, such as Authorization. It is called for each attempt. If it
   * throws, the attempt counts as failed.
   */
  headers?: () => HeadersInit | Promise<HeadersInit>;
  /**
   * Renews the credential. It is called after a 401 or 403, and when the server says that the
   * credential has expired; then one more attempt is made. If it returns false, the stream is
   * signed out. If it throws, it is called again after a while.
   */
  auth?: () => unknown;
  /**
   * Names the signed-in person, such as the user ID. Pages of different persons do not share a
   * connection or a position. If the credential is a cookie, pages of the person before are told
   * that they are signed out.
   */
  identity?: string;
  /** Keep the position in localStorage, so that the stream resumes after a restart of the browser. */
  persist?: boolean;
  /**
   * One connection for all tabs of the browser. Default: true where the browser has Web Locks and
   * BroadcastChannel, that is, on pages served by HTTPS or from localhost; but false with
   * `headers` and without `identity`, because the tabs may be of different persons.
   */
  share?: boolean;
  /**
   * Changes the topics of the open stream, and asks for the state, by requests:
   * `control("/events/control")` of ginsse/control. Without it, the stream is opened again.
   */
  control?: Control;
  /** What reads the stream instead of fetch: `eventSource()` of ginsse/eventsource. */
  transport?: Transport;
  /** Whether cookies go to other origins. Default "same-origin". */
  credentials?: RequestCredentials;
  /** Closes the stream when it is aborted. */
  signal?: AbortSignal;
  /** Takes the place of the global fetch. The stream is not shared then, unless `share` is true. */
  fetch?: typeof fetch;
}

/** The topics of a stream, for components that come and go. */
export interface Topics extends Iterable<string> {
  /**
   * Adds a topic. The promise resolves when the stream reads it: fetch the state after that. It
   * rejects if the stream ends first, or if the server refuses the topic. The topic counts all the
   * same, and is asked for again at the next change or connection: each add needs a delete of its own.
   */
  add(topic: string): Promise<void>;
  /** Takes back one add. After the last one, the stream reads the topic no more. */
  delete(topic: string): void;
  has(topic: string): boolean;
}

/** An event stream. All of its functions may be used without the object. */
export interface Stream<Events extends EventMap = Record<string, any>> extends AsyncIterable<AnyEvent<Events>> {
  /** Calls fn for each event of a type. The result removes the handler. A handler that throws does not stop the others. */
  on<Type extends TypeOf<Listened<Events>>>(type: Type, fn: Handler<Listened<Events>, Type>, options?: ListenOptions): () => void;
  /** Calls fn for the next event of a type. */
  once<Type extends TypeOf<Listened<Events>>>(type: Type, fn: Handler<Listened<Events>, Type>, options?: ListenOptions): () => void;
  /**
   * Calls fn when events are missing or this is the first visit: the page must fetch its state.
   * The reason is "new", or that of the server's sse.gap.
   */
  onStale(fn: (reason: string) => void, options?: ListenOptions): () => void;
  /** Calls fn with the state, now and after each change. */
  onState(fn: (state: State, detail: StateDetail) => void, options?: { signal?: AbortSignal }): () => void;
  readonly state: State;
  /** The server's ID of the open connection; "" without one. */
  readonly id: string;
  readonly topics: Topics;
  /**
   * Iterates over the events from now on. It ends when the stream is closed or the signal is
   * aborted. It throws if the loop is 10,000 events behind.
   */
  events(options?: { signal?: AbortSignal }): AsyncIterableIterator<AnyEvent<Events>>;
  /** Connects now, also if the stream is waiting or was ended. */
  reconnect(): void;
  /** Closes the stream of this tab. */
  close(): void;
}
