import type { Control } from "./types.js";
export type { Control } from "./types.js";
/**
 * Returns an option of `connect` with which topics change, and the state is sent, without another
 * connection: `connect("/events", { control: control("/events/control") })`. Each stream needs one of
 * its own. At the URL the server must have the kit's ControlHandler.
 */
export declare function control(url: string | URL): Control;
