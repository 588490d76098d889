// One connection: a fetch whose body is read.

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

export interface Transport {
  /** Opens a connection. The result closes it; after that the listener is called no more. */
  (url: string, headers: Headers, lastID: string, listener: Listener): () => void;
  /** Asks for events of a type, also from the open connection. */
  listen?(type: string): void;
}

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

/** Milliseconds from a Retry-After header: seconds or a date (RFC 9110, section 10.2.3); else 0. */
export const retryAfter = (value: string) => Math.max(0, +value * 1000 || Date.parse(value) - Date.now() || 0);
