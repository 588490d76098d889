export { connect } from "./stream.js";
export type { AnyEvent, Control, EventMap, Handler, KitEvents, Listened, ListenOptions, Options, ServerEvent, State, StateDetail, Stream, Topics, TypeOf, } from "./types.js";
