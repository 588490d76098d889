// The topics of a component, for the hooks.

import type { KitEvents, State, Stream } from "./types.js";

/**
 * Returns a function that replaces the topics which a component holds of a stream. It calls read
 * when the stream reads all of them, unless it is called again before.
 */
export function newHold(stream: Stream<any>) {
  const held = new Map<string, Promise<void>>();
  let replaced = new AbortController();

  return function hold(topics: readonly string[], read = () => {}) {
    replaced.abort();
    replaced = new AbortController();
    const { signal } = replaced;
    let refusedIn: State | undefined;
    // The new topics come first. Then a topic of both sets is never missing.
    for (const topic of topics) if (!held.has(topic)) held.set(topic, stream.topics.add(topic));
    for (const topic of [...held.keys()]) {
      if (topics.includes(topic)) continue;
      held.delete(topic);
      stream.topics.delete(topic);
    }

    /** After the end of the stream, or a refusal, asks again when it reconnects. */
    const retry = (state: State) => {
      if (state === "closed" || state === "signed-out" || state === refusedIn) return;
      for (const topic of topics) {
        held.set(topic, stream.topics.add(topic));
        stream.topics.delete(topic); // the add before still counts
      }
      hold(topics, read);
    };
    Promise.all(held.values()).then(
      () => signal.aborted || read(),
      () => {
        if (signal.aborted) return;
        refusedIn = stream.state; // final after the end
        // The application may grant a topic that it has refused.
        const granted = ({ added }: KitEvents["sse.topics"]) => added?.some((topic) => topics.includes(topic)) && retry("connecting");
        stream.on("sse.topics", granted, { signal });
        stream.onState(retry, { signal });
      },
    );
  };
}
