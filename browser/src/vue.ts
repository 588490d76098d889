// Composables for Vue 3.3 and later. On a server, and for a stream that is null, they do nothing.

import { computed, getCurrentInstance, onMounted, readonly, ref, shallowRef, toValue, watch } from "vue";
import type { ComputedRef, MaybeRefOrGetter, Ref } from "vue";
import { newHold } from "./hold.js";
import type { EventMap, Handler, Listened, State, StateDetail, Stream, TypeOf } from "./types.js";

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
export function useStream(stream: MaybeRefOrGetter<Stream<any> | null | undefined>): StreamState {
  const connecting: StateDetail & { state: State } = { state: "connecting", reason: "" };
  const shown = shallowRef(connecting);
  let now = connecting;
  const instance = getCurrentInstance();
  // A component that hydrates has its element already. Its first render must be that of the server.
  let hydrating = !!instance?.vnode.el && !instance.isMounted;
  const set = (to: typeof now) => {
    now = to;
    if (!hydrating) shown.value = now;
  };
  if (hydrating) {
    onMounted(() => {
      hydrating = false;
      shown.value = now;
    });
  }
  follow(stream, undefined, (stream) => {
    if (stream) return stream.onState((state, detail) => set({ state, ...detail }));
    set(connecting);
  });
  return {
    state: computed(() => shown.value.state),
    reason: computed(() => shown.value.reason),
    status: computed(() => shown.value.status),
  };
}

/**
 * Calls handler for each event of a type until the component or effect scope ends. The result
 * removes the handler earlier.
 */
export function useEvent<Events extends EventMap, Type extends TypeOf<Listened<Events>>>(
  stream: MaybeRefOrGetter<Stream<Events> | null | undefined>,
  type: MaybeRefOrGetter<Type>,
  handler: Handler<Listened<Events>, Type>,
): () => void {
  return follow(stream, type, (stream, type) => stream?.on(type, handler));
}

/**
 * Calls fn when the component must fetch its state again: see `Stream.onStale`. A component that
 * is created later is not told of what was before, so fetch when it is created too. The result
 * removes fn earlier.
 */
export function useStale(stream: MaybeRefOrGetter<Stream<any> | null | undefined>, fn: (reason: string) => void): () => void {
  return follow(stream, undefined, (stream) => stream?.onStale(fn));
}

/**
 * Adds topics to a stream until the component or effect scope ends. Components may ask for the
 * same topic.
 *
 * The result is true when the stream reads all of the topics: fetch the state after that.
 */
export function useTopics(
  stream: MaybeRefOrGetter<Stream<any> | null | undefined>,
  topics: MaybeRefOrGetter<Iterable<string>>,
): Readonly<Ref<boolean>> {
  const reading = ref(false);
  const hold = shallowRef<ReturnType<typeof newHold>>();
  follow(stream, undefined, (stream) => {
    const mine = stream ? newHold(stream) : undefined;
    hold.value = mine;
    return () => mine?.([]);
  });
  const wanted = () => JSON.stringify([...new Set(toValue(topics))].sort());
  // An array that is sorted in place lacks topics for a moment. The flush comes after that.
  follow(
    hold,
    wanted,
    (hold, wanted) => {
      reading.value = false;
      hold?.(JSON.parse(wanted), () => (reading.value = true));
    },
    "pre",
  );
  return readonly(reading);
}

/**
 * Calls start with the values of two sources, now and after each change. What start returns is
 * called before the next time, and at the end of the effect scope.
 */
function follow<A, B>(
  a: MaybeRefOrGetter<A>,
  b: MaybeRefOrGetter<B>,
  start: (a: A, b: B) => (() => void) | undefined | void,
  flush: "sync" | "pre" = "sync",
): () => void {
  if (!globalThis.document) return () => {}; // on a server, no scope ends
  return watch(
    [() => toValue(a), () => toValue(b)] as const,
    ([a, b], _, onCleanup) => {
      const end = start(a, b);
      if (end) onCleanup(end);
    },
    { immediate: true, flush },
  );
}
