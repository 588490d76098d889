import { type Block } from "./decoder.js";
import type { Options } from "./types.js";
type End = [reason: string, status?: number, wait?: number];
export interface Listener {
    opened(): void;
    received(blocks: Block[]): void;
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
export declare const newFetchTransport: (options: Options) => Transport;
/** Milliseconds from a Retry-After header: seconds or a date (RFC 9110, section 10.2.3); else 0. */
export declare const retryAfter: (value: string) => number;
export {};
