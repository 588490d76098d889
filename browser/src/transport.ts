// One connection: a fetch whose body is read, or a native EventSource.

import { newDecoder, type Block } from "./decoder.js";
import type { Options } from "./types.js";

type End = [reason: string, status?: number, wait?: number];

export interface Listener {
  opened(): void;
  received(blocks: Block[]): void; // blocks may be empty: bytes have arrived
  retry(milliseconds: number): void;
  /** The connection has ended or was not opened. wait is how many milliseconds the server asks for. */
  ended(...end: End): void;
}

/** Opens a connection. The result closes it; after that the listener is called no more. */
export type Transport = (url: URL, headers: Headers, lastID: string, listener: Listener) => () => void;

export const newFetchTransport = (options: Options): Transport => (url, headers, lastID, listener) => {
  const abort = new AbortController();
  const { signal } = abort;
  const read = async (): Promise<End> => {
    const { credentials } = options as { credentials: RequestCredentials }; // or undefined, which fetch takes
    const response = await (options.fetch ?? fetch)(url, { headers, signal, credentials, cache: "no-store" });
    signal.throwIfAborted(); // a fetch of the page may ignore the signal
    const { status, body } = response;
    const header = (name: string) => response.headers.get(name) ?? "";
    if (status !== 200 || !body || !/^text\/event-stream\b/i.test(header("content-type"))) {
      body?.cancel(); // or it would hold the connection
      return [status !== 200 ? "refused" : response.redirected ? "redirected" : "not an event stream", status, retryAfter(header("retry-after"))];
    }
    listener.opened();
    const decode = newDecoder(lastID, listener.retry);
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) break;
      listener.received(decode(value));
    }
    return ["dropped"];
  };
  read()
    .catch((): End => ["network"])
    .then((end) => signal.aborted || listener.ended(...end));
  return () => abort.abort();
};

/** The transport of native EventSources. listen adds an event type, also to the open connection. */
export function newEventSourceTransport(options: Options) {
  const types = new Set(["message", "sse.open", "sse.heartbeat", "sse.gap", "sse.reconnect", "sse.close"]);
  let listen: ((type: string) => void) | undefined;
  const transport: Transport = (url, headers, lastID, listener) => {
    const source = new EventSource(url, { withCredentials: options.credentials === "include" });
    let close = () => source.close();
    listen = (type) =>
      source.addEventListener(type, (event: MessageEvent<string>) =>
        listener.received([{ type, text: event.data, id: event.lastEventId || lastID }]),
      );
    types.forEach(listen);
    source.onopen = listener.opened;
    source.onerror = () => {
      const refused = source.readyState === EventSource.CLOSED;
      source.close(); // it would reconnect without the delays of the stream
      if (!refused) return listener.ended("network");
      // Only fetch shows the status of the refusal.
      close = newFetchTransport(options)(url, headers, lastID, {
        ...listener,
        opened() {
          close();
          listener.ended("network");
        },
      });
    };
    return () => close();
  };
  return {
    transport,
    listen(type: string) {
      if (types.has(type)) return;
      types.add(type);
      listen?.(type);
    },
  };
}

/** Milliseconds from a Retry-After header: seconds or a date (RFC 9110, section 10.2.3); else 0. */
const retryAfter = (value: string) => Math.max(0, +value * 1000 || Date.parse(value) - Date.now() || 0);
