"use client";

// Hooks for React 18 and later. On a server, and for a stream that is null, they do nothing.

import { useCallback, useEffect, useInsertionEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { newHold } from "./hold.js";
import type { EventMap, Handler, Listened, State, StateDetail, Stream, TypeOf } from "./types.js";

/** The state of a stream, and why it is in this state. */
export interface StreamState extends StateDetail {
  readonly state: State;
}

/**
 * Returns the state of a stream, and renders the component again when it changes. The state is
 * "connecting" on a server, while a page of a server hydrates, and without a stream.
 */
export function useStream(stream: Stream<any> | null | undefined): StreamState {
  return useSyncExternalStore(
    useCallback((changed: () => void) => stream?.onState(changed) ?? noop, [stream]),
    () => (stream ? snapshot(stream) : connecting),
    () => connecting,
  );
}

/**
 * Calls handler for each event of a type while the component is mounted. It is the handler of the
 * last render, so it needs no useCallback.
 */
export function useEvent<Events extends EventMap, Type extends TypeOf<Listened<Events>>>(
  stream: Stream<Events> | null | undefined,
  type: Type,
  handler: Handler<Listened<Events>, Type>,
): void {
  const latest = useLatest(handler);
  useEffect(() => stream?.on(type, (data, event) => latest.current(data, event)), [stream, type, latest]);
}

/**
 * Calls fn when the component must fetch its state again: see `Stream.onStale`. A component that
 * mounts later is not told of what was before, so fetch when it mounts too.
 */
export function useStale(stream: Stream<any> | null | undefined, fn: (reason: string) => void): void {
  const latest = useLatest(fn);
  useEffect(() => stream?.onStale((reason) => latest.current(reason)), [stream, latest]);
}

/**
 * Adds topics to a stream while the component is mounted. The array may be another one at each
 * render. Components may ask for the same topic.
 *
 * The result is true when the stream reads all of the topics: fetch the state after that.
 */
export function useTopics(stream: Stream<any> | null | undefined, topics: Iterable<string>): boolean {
  const wanted = JSON.stringify([...new Set(topics)].sort());
  const hold = useMemo(() => stream && newHold(stream), [stream]);
  const [reading, setReading] = useState<{ hold: typeof hold; wanted: string }>();
  useEffect(() => hold?.(JSON.parse(wanted), () => setReading({ hold, wanted })), [hold, wanted]);
  useEffect(
    () => () => {
      hold?.([]);
      setReading(undefined);
    },
    [hold],
  );
  return !!hold && reading?.hold === hold && reading.wanted === wanted;
}

const noop = () => {};
const connecting: StreamState = { state: "connecting", reason: "" };
const snapshots = new WeakMap<Stream<any>, StreamState>();

/** Returns the state of a stream: the same object until it changes. */
function snapshot(stream: Stream<any>): StreamState {
  let now = snapshots.get(stream) ?? connecting;
  const remove = stream.onState((state, detail) => {
    if (state !== now.state || detail.reason !== now.reason || detail.status !== now.status) now = { state, ...detail };
  });
  remove(); // it was called once
  snapshots.set(stream, now);
  return now;
}

/** Returns a ref to the value of the last render that was committed. */
function useLatest<T>(value: T) {
  const latest = useRef(value);
  // Before all effects, so that no handler of an earlier render is called in them.
  useInsertionEffect(() => {
    latest.current = value;
  });
  return latest;
}
