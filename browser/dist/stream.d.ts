import type { EventMap, Options, Stream } from "./types.js";
/**
 * Opens a stream, and keeps it open until it is closed or ends.
 *
 * It comes back by itself after a lost or dead connection, a restart of the server, a sleep of the
 * device and a reload of the page, and continues after the last event. All tabs share one
 * connection where the browser can do that. Without a document, as in server rendering, it does
 * nothing, unless `options.fetch` is set.
 */
export declare function connect<Events extends EventMap = Record<string, any>>(url: string | URL, options?: Options): Stream<Events>;
