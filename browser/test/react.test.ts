import assert from "node:assert/strict";
import { afterEach, test, type TestContext } from "node:test";
import type { ReactNode } from "react";
import { connect } from "../src/ginsse.js";
import { newFakeServer } from "../src/testing.js";
import type { Stream } from "../src/types.js";
import * as page from "./page.js";
import { installDocument, newElement, type Events } from "./page.js";

installDocument();
Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });
const React = await import("react");
const { createRoot, hydrateRoot } = await import("react-dom/client");
const { renderToString } = await import("react-dom/server");
const { useEvent, useStale, useStream, useTopics } = await import("../src/react.js");
const { act, Activity, createElement: h, StrictMode, Suspense } = React;

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

/** Renders into an element of its own. React's warnings fail the test. */
async function render(t: TestContext, node: ReactNode, { strict = false } = {}) {
  const warn = t.mock.method(console, "error", () => {});
  const element = newElement();
  const root = createRoot(element);
  const wrap = (node: ReactNode) => (strict ? h(StrictMode, null, node) : node);
  ends.push(async () => {
    await act(async () => root.unmount());
    element.remove();
    assert.deepEqual(warn.mock.calls.map((call) => call.arguments), []);
  });
  await act(async () => root.render(wrap(node)));
  return {
    element,
    render: (node: ReactNode) => act(async () => root.render(wrap(node))),
    unmount: () => act(async () => root.unmount()),
  };
}

/** A stream that counts its handlers of events. */
function counting(stream: Stream<Events>) {
  const counts = { added: 0, now: 0 };
  const counted: Stream<Events> = Object.create(stream, {
    on: {
      value: (...args: Parameters<typeof stream.on>) => {
        const remove = stream.on(...args);
        counts.added++;
        counts.now++;
        return () => {
          counts.now--;
          remove();
        };
      },
    },
  });
  return { counts, stream: counted };
}

function Light({ stream }: { stream: Stream<any> | null }) {
  const { state, reason, status } = useStream(stream);
  return [state, reason, status].join(" ").trim();
}

test("useStream renders each state with its reason", async (t) => {
  const { server, stream } = newStream();
  const page = await render(t, h(Light, { stream }));
  await act(() => server.connected());
  assert.equal(page.element.textContent, "live");
  server.refuse({ status: 503, times: Infinity });
  await act(async () => {
    server.drop();
    await new Promise<void>((resolve) => stream.onState((_, { status }) => status && resolve()));
  });
  assert.equal(page.element.textContent, "reconnecting refused 503");
  server.refuse({ status: 503, times: 0 });
  await act(() => server.connected());
  assert.equal(page.element.textContent, "live");
  await act(async () => stream.close());
  assert.equal(page.element.textContent, "closed closed");
});

test("useStream renders only when the state changes", async (t) => {
  const { server, stream } = newStream();
  let renders = 0;
  const Counted = () => {
    renders++;
    return useStream(stream).state;
  };
  await render(t, h(Counted));
  await act(() => server.connected());
  assert.equal(renders, 2); // connecting, live
  await act(() => server.push("comment", "hello"));
  assert.equal(renders, 2);
});

test("useStream returns the same object until the state changes", async (t) => {
  const { server, stream } = newStream();
  const seen = new Set<object>();
  const Seen = () => {
    seen.add(useStream(stream));
    return null;
  };
  const page = await render(t, h("div", null, h(Seen), h(Seen)));
  await act(() => server.connected());
  await page.render(h("div", null, h(Seen), h(Seen)));
  assert.equal(seen.size, 2);
});

test("useEvent calls the handler of the last render, and adds one handler in all", async (t) => {
  const { server, stream } = newStream();
  const { counts, stream: counted } = counting(stream);
  const calls: string[] = [];
  const List = ({ name }: { name: string }) => {
    useEvent(counted, "comment", (text, event) => calls.push(`${name} ${text} ${event.type}`));
    return null;
  };
  const page = await render(t, h(List, { name: "first" }));
  await act(() => server.connected());
  await act(() => server.push("comment", "a"));
  for (const name of ["second", "third"]) await page.render(h(List, { name }));
  await act(() => server.push("comment", "b"));
  assert.deepEqual(calls, ["first a comment", "third b comment"]);
  assert.deepEqual(counts, { added: 1, now: 1 });
});

test("useEvent calls the new handler in the effects of its render", async (t) => {
  const { stream } = newStream();
  let emit: (data: string) => unknown = () => {};
  const fake: Stream<Events> = Object.create(stream, {
    on: {
      value: (_type: string, fn: typeof emit) => {
        emit = fn;
        return () => {};
      },
    },
  });
  const calls: string[] = [];
  const Child = ({ name }: { name: string }) => {
    React.useLayoutEffect(() => void emit("an event"), [name]);
    return null;
  };
  const Parent = ({ name }: { name: string }) => {
    useEvent(fake, "comment", () => calls.push(name));
    return h(Child, { name });
  };
  const page = await render(t, h(Parent, { name: "first" }));
  await page.render(h(Parent, { name: "second" }));
  assert.deepEqual(calls, ["second"]);
});

test("useEvent does not call the handler of a render that was not committed", async (t) => {
  const { server, stream } = newStream();
  const calls: string[] = [];
  const never = new Promise<void>(() => {});
  let show!: (name: string) => void;
  const List = () => {
    const [name, setName] = React.useState("first");
    show = setName;
    useEvent(stream, "comment", () => calls.push(name));
    if (name === "second") React.use(never);
    return name;
  };
  const page = await render(t, h(Suspense, null, h(List)));
  await act(() => server.connected());
  await act(async () => React.startTransition(() => show("second")));
  await act(() => server.push("comment", "hello"));
  assert.equal(page.element.textContent, "first");
  assert.deepEqual(calls, ["first"]);
});

test("useEvent follows a change of the type", async (t) => {
  const { server, stream } = newStream();
  const calls: unknown[] = [];
  const List = ({ type }: { type: keyof Events }) => {
    useEvent(stream, type, (data) => calls.push(data));
    return null;
  };
  const page = await render(t, h(List, { type: "comment" }));
  await act(() => server.connected());
  await page.render(h(List, { type: "like" }));
  await act(() => server.push("comment", "hello"));
  await act(() => server.push("like", 7));
  assert.deepEqual(calls, [7]);
});

test("nothing of a component stays after it is unmounted", async (t) => {
  const { server, stream, reads } = newStream();
  const { counts, stream: counted } = counting(stream);
  const calls: string[] = [];
  const Page = () => {
    useEvent(counted, "comment", () => calls.push("event"));
    useStale(counted, () => calls.push("stale"));
    useTopics(counted, ["a", "b"]);
    return h(Light, { stream });
  };
  const page = await render(t, h(Page));
  await act(() => reads("a", "b"));
  assert.deepEqual(calls.splice(0), ["stale"]);
  await page.unmount();
  assert.deepEqual([...stream.topics], []);
  assert.equal(counts.now, 0);
  await reads();
  await server.push("comment", "hello");
  await server.gap();
  assert.deepEqual(calls, []);
});

test("all hooks follow a change of the stream", async (t) => {
  const first = newStream();
  const second = newStream();
  const calls: string[] = [];
  const Page = ({ stream }: { stream: Stream<Events> | null }) => {
    useEvent(stream, "comment", (text) => calls.push(text));
    useStale(stream, (reason) => calls.push(reason));
    const ready = useTopics(stream, ["a"]);
    return [useStream(stream).state, ready].join(" ");
  };
  const page = await render(t, h(Page, { stream: null }));
  assert.equal(page.element.textContent, "connecting false");
  await page.render(h(Page, { stream: first.stream }));
  await act(() => first.reads("a"));
  assert.equal(page.element.textContent, "live true");
  assert.deepEqual(calls.splice(0), ["new"]);
  await act(async () => first.stream.close());
  assert.equal(page.element.textContent, "closed true");

  await page.render(h(Page, { stream: second.stream }));
  assert.deepEqual([...first.stream.topics], []);
  await act(() => second.reads("a"));
  assert.equal(page.element.textContent, "live true");
  await act(() => second.server.push("comment", "hello"));
  assert.deepEqual(calls.splice(0), ["new", "hello"]);

  await page.render(h(Page, { stream: null }));
  assert.deepEqual([...second.stream.topics], []);
  assert.equal(page.element.textContent, "connecting false");
});

test("strict mode gets each event and the first onStale once, by one request", async (t) => {
  const { server, stream, reads } = newStream();
  await server.connected();
  const calls: string[] = [];
  const Page = () => {
    useEvent(stream, "comment", (text) => calls.push(text));
    useStale(stream, (reason) => calls.push(reason));
    return String(useTopics(stream, ["a"]));
  };
  const page = await render(t, h(Page), { strict: true });
  await act(() => reads("a"));
  await act(() => server.push("comment", "hello", "a"));
  assert.deepEqual(calls, ["new", "hello"]);
  assert.equal(page.element.textContent, "true");
  assert.deepEqual(server.requests.map(({ topics }) => topics), [[], ["a"]]);
  await page.unmount();
  assert.deepEqual([...stream.topics], []);
});

test("useStale gets the reason that came before the component", async (t) => {
  const { server, stream } = newStream();
  await server.connected();
  const calls: string[] = [];
  const Page = () => {
    useStale(stream, (reason) => calls.push(reason));
    return null;
  };
  await render(t, h(Page), { strict: true });
  assert.deepEqual(calls, ["new"]);
  await act(() => server.gap());
  assert.deepEqual(calls, ["new", "trimmed"]);
});

test("useTopics changes the topics of all components together", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  await new Promise(setImmediate); // for Node's warning
  const { server, stream, reads } = newStream();
  await server.connected();
  const change = (...topics: string[]) => act(() => {
    t.mock.timers.tick(1000); // the change goes to the server
    return reads(...topics);
  });
  const seen: boolean[] = [];
  const Post = ({ ids }: { ids: string[] }) => {
    const ready = useTopics(stream, ids.map((id) => `post:${id}`));
    seen.push(ready);
    return String(ready);
  };
  const page = await render(t, [h(Post, { key: 1, ids: ["1", "2"] }), h(Post, { key: 2, ids: ["2"] })]);
  assert.equal(page.element.textContent, "falsefalse");
  await change("post:1", "post:2");
  assert.equal(page.element.textContent, "truetrue");

  // Other arrays of the same topics, in any order, are no change.
  seen.length = 0;
  await page.render([h(Post, { key: 1, ids: ["2", "1", "2"] }), h(Post, { key: 2, ids: ["2"] })]);
  assert.deepEqual(seen, [true, true]);

  await page.render([h(Post, { key: 1, ids: ["1", "3"] }), h(Post, { key: 2, ids: ["4"] })]);
  assert.equal(page.element.textContent, "falsefalse");
  await change("post:1", "post:3", "post:4");
  assert.equal(page.element.textContent, "truetrue");
  assert.equal(server.requests.length, 3); // without topics, and one for each set
});

test("a topic stays while one of its components is mounted", async (t) => {
  const { stream, reads } = newStream();
  const Post = () => String(useTopics(stream, ["a"]));
  const page = await render(t, [h(Post, { key: 1 }), h(Post, { key: 2 })]);
  await act(() => reads("a"));
  await page.render([h(Post, { key: 2 })]);
  assert.deepEqual([...stream.topics], ["a"]);
  await page.render([]);
  assert.deepEqual([...stream.topics], []);
});

test("useTopics is true when a component takes over the topic of another", { timeout: 30_000 }, async (t) => {
  const { server, stream, reads } = newStream();
  const First = () => String(useTopics(stream, ["a"]));
  const Second = () => `second ${useTopics(stream, ["a"])}`;
  const page = await render(t, h(First));
  await act(() => reads("a"));
  const requests = server.requests.length;
  await page.render(h(Second));
  await act(() => stream.topics.add("a")); // resolves when that of the component does
  assert.equal(page.element.textContent, "second true");
  assert.equal(server.requests.length, requests); // the topics have not changed
});

test("useTopics is true when a stream that has ended reconnects", async (t) => {
  const { server, stream, reads } = newStream();
  await server.connected();
  await server.close("signed out");
  const Post = () => String(useTopics(stream, ["a"]));
  const page = await render(t, h(Post));
  assert.equal(page.element.textContent, "false");
  await act(async () => {
    stream.reconnect();
    await reads("a");
  });
  assert.equal(page.element.textContent, "true");
  await page.unmount();
  assert.deepEqual([...stream.topics], []);
});

test("a hidden Activity holds no topics, and asks again when it is shown", async (t) => {
  const { stream, reads } = newStream();
  const seen: boolean[] = [];
  const Post = () => {
    const ready = useTopics(stream, ["a"]);
    React.useEffect(() => void seen.push(ready), [ready]);
    return null;
  };
  const page = await render(t, h(Activity, { mode: "visible", children: h(Post) }));
  await act(() => reads("a"));
  assert.deepEqual(seen.splice(0), [false, true]);
  await page.render(h(Activity, { mode: "hidden", children: h(Post) }));
  await act(() => reads());
  await page.render(h(Activity, { mode: "visible", children: h(Post) }));
  await act(() => reads("a"));
  assert.deepEqual(seen, [false, true]);
});

test("a page of a server hydrates without a mismatch while the stream is live", async (t) => {
  const { server, stream } = newStream();
  await server.connected();
  assert.equal(stream.state, "live");
  const element = newElement();
  element.innerHTML = renderToString(h(Light, { stream }));
  assert.equal(element.textContent, "connecting");
  const warn = t.mock.method(console, "error", () => {});
  const errors: unknown[] = [];
  const root = await act(async () => hydrateRoot(element, h(Light, { stream }), { onRecoverableError: (error) => errors.push(error) }));
  assert.equal(element.textContent, "live");
  assert.deepEqual(errors, []);
  assert.deepEqual(warn.mock.calls.map((call) => call.arguments), []);
  await act(async () => root.unmount());
  element.remove();
});

test("a stream that a component opens in an effect has all handlers before its first event", async (t) => {
  const server = newFakeServer<Events>();
  const calls: string[] = [];
  const Child = ({ stream }: { stream: Stream<Events> | null }) => {
    useEvent(stream, "comment", (text) => calls.push(text));
    useStale(stream, (reason) => calls.push(reason));
    return useStream(stream).state;
  };
  const Page = ({ user }: { user: string }) => {
    const [stream, setStream] = React.useState<Stream<Events> | null>(null);
    React.useEffect(() => {
      const stream = connect<Events>(`/events?user=${user}`, { fetch: server.fetch });
      setStream(stream);
      return () => stream.close();
    }, [user]);
    return h(Child, { stream });
  };
  const page = await render(t, h(Page, { user: "ann" }), { strict: true });
  await act(() => server.connected());
  assert.equal(page.element.textContent, "live");
  await page.render(h(Page, { user: "bob" }));
  await act(() => server.connected());
  await act(() => server.push("comment", "hello"));
  assert.deepEqual(calls, ["new", "new", "hello"]);
  assert.deepEqual(server.requests.map(({ url }) => url.search), ["?user=ann", "?user=bob"]);
  await page.unmount();
  assert.equal(server.connections, 0);
});
