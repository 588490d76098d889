import type { EventMap, Options, Stream } from "./types.js";
export type * from "./types.js";
/** Opens an event stream. */
export declare function connect<Events extends EventMap = Record<string, any>>(url: string, options?: Options): Stream<Events>;
