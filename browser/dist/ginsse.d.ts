export { connect } from "./stream.js";
export type { AnyEvent, EventMap, Handler, ListenOptions, Options, ServerEvent, State, StateDetail, Stream, Topics, TypeOf, } from "./types.js";
