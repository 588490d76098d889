import type { ComputedRef, MaybeRefOrGetter, Ref } from "vue";
import type { EventMap, Handler, Listened, State, Stream, TypeOf } from "./types.js";
/** The state of a stream, and why it is in this state: see `StateDetail`. */
export interface StreamState {
    readonly state: ComputedRef<State>;
    readonly reason: ComputedRef<string>;
    readonly status: ComputedRef<number | undefined>;
}
/**
 * Returns the state of a stream. It is "connecting" on a server, while a page of a server hydrates,
 * and without a stream.
 */
export declare function useStream(stream: MaybeRefOrGetter<Stream<any> | null | undefined>): StreamState;
/**
 * Calls handler for each event of a type until the component or effect scope ends. The result
 * removes the handler earlier.
 */
export declare function useEvent<Events extends EventMap, Type extends TypeOf<Listened<Events>>>(stream: MaybeRefOrGetter<Stream<Events> | null | undefined>, type: MaybeRefOrGetter<Type>, handler: Handler<Listened<Events>, Type>): () => void;
/**
 * Calls fn when the component must fetch its state again: see `Stream.onStale`. A component that
 * is created later is not told of what was before, so fetch when it is created too. The result
 * removes fn earlier.
 */
export declare function useStale(stream: MaybeRefOrGetter<Stream<any> | null | undefined>, fn: (reason: string) => void): () => void;
/**
 * Adds topics to a stream until the component or effect scope ends. Components may ask for the
 * same topic.
 *
 * The result is true when the stream reads all of the topics: fetch the state after that.
 */
export declare function useTopics(stream: MaybeRefOrGetter<Stream<any> | null | undefined>, topics: MaybeRefOrGetter<Iterable<string>>): Readonly<Ref<boolean>>;
