import type { EventMap, Handler, Listened, State, StateDetail, Stream, TypeOf } from "./types.js";
/** The state of a stream, and why it is in this state. */
export interface StreamState extends StateDetail {
    readonly state: State;
}
/**
 * Returns the state of a stream, and renders the component again when it changes. The state is
 * "connecting" on a server, while a page of a server hydrates, and without a stream.
 */
export declare function useStream(stream: Stream<any> | null | undefined): StreamState;
/**
 * Calls handler for each event of a type while the component is mounted. It is the handler of the
 * last render, so it needs no useCallback.
 */
export declare function useEvent<Events extends EventMap, Type extends TypeOf<Listened<Events>>>(stream: Stream<Events> | null | undefined, type: Type, handler: Handler<Listened<Events>, Type>): void;
/**
 * Calls fn when the component must fetch its state again: see `Stream.onStale`. A component that
 * mounts later is not told of what was before, so fetch when it mounts too.
 */
export declare function useStale(stream: Stream<any> | null | undefined, fn: (reason: string) => void): void;
/**
 * Adds topics to a stream while the component is mounted. The array may be another one at each
 * render. Components may ask for the same topic.
 *
 * The result is true when the stream reads all of the topics: fetch the state after that.
 */
export declare function useTopics(stream: Stream<any> | null | undefined, topics: Iterable<string>): boolean;
