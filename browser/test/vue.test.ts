import assert from "node:assert/strict";
import { afterEach, test, type TestContext } from "node:test";
import type { App } from "vue";
import type { Stream } from "../src/types.js";
import * as page from "./page.js";
import { installDocument, newElement, type Events } from "./page.js";

installDocument();
const { createApp, createSSRApp, effectScope, h, KeepAlive, nextTick, reactive, ref, shallowRef, Suspense } = await import("vue");
const { useEvent, useStale, useStream, useTopics } = await import("../src/vue.js");

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A stream that ends with the test. */
function newStream() {
  const made = page.newStream();
  ends.push(() => made.stream.close());
  return made;
}

/** Mounts into an element. Vue's warnings fail the test. */
function mount(t: TestContext, app: App, element = newElement()) {
  const warn = t.mock.method(console, "warn", () => {});
  const error = t.mock.method(console, "error", () => {});
  let mounted = true;
  const unmount = () => {
    if (mounted) app.unmount();
    mounted = false;
  };
  ends.push(() => {
    unmount();
    element.remove();
    assert.deepEqual([...warn.mock.calls, ...error.mock.calls].map((call) => call.arguments), []);
  });
  app.mount(element);
  return { element, unmount };
}

/** Shows the state of a stream. */
const light = (stream: Stream<Events>) => () => {
  const { state, reason, status } = useStream(stream);
  return () => h("p", { class: state.value }, [state.value, reason.value, status.value].join(" ").trim());
};

test("useStream has each state with its reason", async (t) => {
  const { server, stream } = newStream();
  const { element } = mount(t, createApp({ setup: light(stream) }));
  assert.equal(element.textContent, "connecting");
  await server.connected();
  await nextTick();
  assert.equal(element.textContent, "live");
  server.refuse({ status: 503, times: Infinity });
  server.drop();
  await new Promise<void>((resolve) => stream.onState((_, { status }) => status && resolve()));
  await nextTick();
  assert.equal(element.textContent, "reconnecting refused 503");
  stream.close();
  await nextTick();
  assert.equal(element.textContent, "closed closed");
});

test("useStream has the state of a live stream at once", async (t) => {
  const { server, stream } = newStream();
  await server.connected();
  const { element } = mount(t, createApp({ setup: light(stream) }));
  assert.equal(element.textContent, "live");
});

test("useEvent calls the handler until the component is unmounted", async (t) => {
  const { server, stream } = newStream();
  const calls: string[] = [];
  const setup = () => {
    useEvent(stream, "comment", (text, event) => calls.push(`${event.type} ${text}`));
    return () => null;
  };
  const { unmount } = mount(t, createApp({ setup }));
  await server.connected();
  await server.push("comment", "a");
  unmount();
  await server.push("comment", "b");
  assert.deepEqual(calls, ["comment a"]);
});

test("the results of useEvent and useStale remove the handlers", async (t) => {
  const { server, stream } = newStream();
  const calls: string[] = [];
  const stops: (() => void)[] = [];
  const setup = () => {
    stops.push(useEvent(stream, "comment", (text) => calls.push(text)));
    stops.push(useStale(stream, (reason) => calls.push(reason)));
    return () => null;
  };
  mount(t, createApp({ setup }));
  await server.connected();
  for (const stop of stops) stop();
  await server.push("comment", "hello");
  await server.gap();
  assert.deepEqual(calls, ["new"]);
});

test("useEvent follows a change of the type", async (t) => {
  const { server, stream } = newStream();
  const type = ref<keyof Events>("comment");
  const calls: unknown[] = [];
  const setup = () => {
    useEvent(stream, type, (data) => calls.push(data));
    return () => null;
  };
  mount(t, createApp({ setup }));
  await server.connected();
  type.value = "like";
  await server.push("comment", "hello");
  await server.push("like", 7);
  assert.deepEqual(calls, [7]);
});

test("nothing of a component stays after it is unmounted", async (t) => {
  const { server, stream, reads } = newStream();
  const calls: string[] = [];
  const setup = () => {
    useEvent(stream, "comment", () => calls.push("event"));
    useStale(stream, () => calls.push("stale"));
    const { state } = useStream(stream);
    useTopics(stream, ["a", "b"]);
    return () => state.value;
  };
  const { unmount } = mount(t, createApp({ setup }));
  await reads("a", "b");
  assert.deepEqual(calls.splice(0), ["stale"]);
  unmount();
  assert.deepEqual([...stream.topics], []);
  await reads();
  await server.push("comment", "hello");
  await server.gap();
  assert.deepEqual(calls, []);
});

test("all composables follow a change of the stream", async (t) => {
  const first = newStream();
  const second = newStream();
  const calls: string[] = [];
  const stream = shallowRef<Stream<Events> | null>(null);
  const setup = () => {
    useEvent(stream, "comment", (text) => calls.push(text));
    useStale(() => stream.value, (reason) => calls.push(reason));
    const { state } = useStream(stream);
    const ready = useTopics(stream, ["a"]);
    return () => [state.value, ready.value].join(" ");
  };
  const { element } = mount(t, createApp({ setup }));
  assert.equal(element.textContent, "connecting false");
  stream.value = first.stream;
  await first.reads("a");
  assert.equal(element.textContent, "live true");
  assert.deepEqual(calls.splice(0), ["new"]);

  stream.value = second.stream;
  assert.deepEqual([...first.stream.topics], []);
  await second.reads("a");
  assert.equal(element.textContent, "live true");
  await first.server.push("comment", "of the first");
  await second.server.push("comment", "hello");
  assert.deepEqual(calls.splice(0), ["new", "hello"]);

  stream.value = null;
  assert.deepEqual([...second.stream.topics], []);
  await nextTick();
  assert.equal(element.textContent, "connecting false");
});

test("useStale gets the reason that came before the component", async (t) => {
  const { server, stream } = newStream();
  await server.connected();
  const calls: string[] = [];
  const setup = () => {
    useStale(stream, (reason) => calls.push(reason));
    return () => null;
  };
  mount(t, createApp({ setup }));
  assert.deepEqual(calls, ["new"]);
  await server.gap();
  assert.deepEqual(calls, ["new", "trimmed"]);
});

test("useTopics follows an array that is changed in place, and changes all topics together", async (t) => {
  const { server, stream, reads } = newStream();
  await server.connected();
  const topics = reactive(["b", "a"]);
  const setup = () => {
    const own = useTopics(stream, topics);
    const others = useTopics(stream, () => topics.map((topic) => `${topic} too`));
    return () => [own.value, others.value].join(" ");
  };
  const { element } = mount(t, createApp({ setup }));
  assert.equal(element.textContent, "false false");
  await reads("a", "a too", "b", "b too");
  assert.equal(element.textContent, "true true");

  topics.reverse(); // no change
  await nextTick();
  assert.equal(element.textContent, "true true");

  topics[0] = "c";
  topics.push("d");
  await nextTick();
  assert.equal(element.textContent, "false false");
  await reads("b", "b too", "c", "c too", "d", "d too");
  assert.equal(element.textContent, "true true");
  assert.equal(server.requests.length, 3); // without topics, and one for each set
});

test("useTopics is not true for topics that were added while the stream opened", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  await new Promise(setImmediate); // for Node's warning
  const { server, stream, reads } = newStream();
  const topics = reactive(["a"]);
  const setup = () => {
    const ready = useTopics(stream, topics);
    return () => String(ready.value);
  };
  const { element } = mount(t, createApp({ setup }));
  while (!server.requests.length) await nextTick();
  topics.push("b");
  await reads("a");
  assert.equal(element.textContent, "false");
  t.mock.timers.tick(1000); // the change goes to the server
  await reads("a", "b");
  assert.equal(element.textContent, "true");
});

test("a topic stays while one of its components is mounted", async (t) => {
  const { stream } = newStream();
  const shown = reactive(new Set([1, 2]));
  const post = {
    setup() {
      useTopics(stream, ["a"]);
      return () => null;
    },
  };
  mount(t, createApp(() => [...shown].map((key) => h(post, { key }))));
  shown.delete(1);
  await nextTick();
  assert.deepEqual([...stream.topics], ["a"]);
  shown.delete(2);
  await nextTick();
  assert.deepEqual([...stream.topics], []);
});

test("useTopics is true when a stream that has ended reconnects", async (t) => {
  const { server, stream, reads } = newStream();
  await server.connected();
  await server.close("signed out");
  const setup = () => {
    const ready = useTopics(stream, ["a"]);
    return () => String(ready.value);
  };
  const { element, unmount } = mount(t, createApp({ setup }));
  assert.equal(element.textContent, "false");
  await new Promise(setImmediate); // for the rejection
  stream.reconnect();
  await reads("a");
  assert.equal(element.textContent, "true");
  unmount();
  assert.deepEqual([...stream.topics], []);
});

test("composables work in an effect scope without a component", async () => {
  const { server, stream, reads } = newStream();
  const calls: string[] = [];
  const scope = effectScope();
  const { state, ready } = scope.run(() => {
    useEvent(stream, "comment", (text) => calls.push(text));
    return { state: useStream(stream).state, ready: useTopics(stream, ["a"]) };
  })!;
  await reads("a");
  assert.equal(state.value, "live");
  assert.equal(ready.value, true);
  await server.push("comment", "a");
  scope.stop();
  await server.push("comment", "b");
  assert.deepEqual(calls, ["a"]);
  assert.deepEqual([...stream.topics], []);
});

test("a component gets the events that come during its async setup", async (t) => {
  const { server, stream } = newStream();
  await server.connected();
  const calls: string[] = [];
  let fetched!: () => void;
  const list = {
    async setup() {
      useEvent(stream, "comment", (text) => calls.push(text));
      await new Promise<void>((resolve) => (fetched = resolve));
      return () => calls.join();
    },
  };
  t.mock.method(console, "info", () => {}); // Suspense is experimental
  const { element } = mount(t, createApp(() => h(Suspense, null, { default: () => h(list), fallback: () => "…" })));
  await server.push("comment", "hello");
  fetched();
  await new Promise(setImmediate);
  assert.equal(element.textContent, "hello");
});

test("a component that KeepAlive keeps gets its events", async (t) => {
  const { server, stream } = newStream();
  await server.connected();
  const calls: string[] = [];
  const list = {
    setup() {
      useEvent(stream, "comment", (text) => calls.push(text));
      return () => null;
    },
  };
  const shown = ref(true);
  const { unmount } = mount(t, createApp(() => h(KeepAlive, null, () => (shown.value ? h(list) : null))));
  shown.value = false;
  await nextTick();
  await server.push("comment", "a");
  unmount();
  await server.push("comment", "b");
  assert.deepEqual(calls, ["a"]);
});

test("a page of a server hydrates without a mismatch while the stream is live", async (t) => {
  const { server, stream } = newStream();
  await server.connected();
  assert.equal(stream.state, "live");
  const element = newElement();
  element.innerHTML = '<p class="connecting">connecting</p>'; // see vue-server.test.ts
  const app = createSSRApp({ setup: light(stream) });
  mount(t, app, element);
  await nextTick();
  assert.equal(element.innerHTML, '<p class="live">live</p>');
  stream.close();
  await nextTick();
  assert.equal(element.innerHTML, '<p class="closed">closed closed</p>');
});

test("the state of a store lives on after the component that hydrated it", async (t) => {
  const { server, stream } = newStream();
  await server.connected();
  const scope = effectScope(true);
  let state!: ReturnType<typeof useStream>["state"];
  const setup = () => {
    state = scope.run(() => useStream(stream))!.state;
    return () => h("p", state.value);
  };
  const element = newElement();
  element.innerHTML = "<p>connecting</p>";
  const { unmount } = mount(t, createSSRApp({ setup }), element);
  assert.equal(state.value, "live");
  unmount();
  stream.close();
  assert.equal(state.value, "closed");
  scope.stop();
});
