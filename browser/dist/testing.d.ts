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
    reconnect(end?: {
        reason?: string;
        retry?: number;
    }): Promise<void>;
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
export declare function newFakeServer<Events extends EventMap = Record<string, any>>(options?: FakeServerOptions): FakeServer<Events>;
