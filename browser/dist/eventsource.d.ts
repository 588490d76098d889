import { type Transport } from "./transport.js";
export type { Transport } from "./transport.js";
/**
 * Returns a transport that reads a stream with the browser's own EventSource:
 * `connect(url, { transport: eventSource() })`. Each stream needs one of its own.
 *
 * It sends no headers, gets only event types that have a handler, and its connection is not shared
 * with other tabs. After a refusal, a fetch asks for the status. `withCredentials` sends cookies to
 * another origin.
 */
export declare function eventSource({ withCredentials, ...options }?: {
    withCredentials?: boolean;
    fetch?: typeof fetch;
}): Transport;
