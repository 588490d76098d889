// The browser's own EventSource, for those who want it.

import { newFetchTransport, type Transport } from "./transport.js";

export type { Transport } from "./transport.js";

/**
 * Returns a transport that reads a stream with the browser's own EventSource:
 * `connect(url, { transport: eventSource() })`. Each stream needs one of its own.
 *
 * It sends no headers, gets only event types that have a handler, and its connection is not shared
 * with other tabs. After a refusal, a fetch asks for the status. `withCredentials` sends cookies to
 * another origin.
 */
export function eventSource({ withCredentials = false, ...options }: { withCredentials?: boolean; fetch?: typeof fetch } = {}): Transport {
  const types = new Set(["message", "sse.open", "sse.heartbeat", "sse.gap", "sse.topics", "sse.reconnect", "sse.close"]);
  let listen: ((type: string) => void) | undefined;
  const ask = newFetchTransport({ ...options, ...(withCredentials && { credentials: "include" }) });

  const transport: Transport = (url, headers, lastID, listener) => {
    const source = new EventSource(url, { withCredentials });
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
      close = ask(url, headers, lastID, {
        ...listener,
        opened() {
          close();
          listener.ended("network");
        },
      });
    };
    return () => close();
  };
  transport.listen = (type) => {
    if (types.has(type)) return;
    types.add(type);
    listen?.(type);
  };
  return transport;
}
