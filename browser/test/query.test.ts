// The recipe for TanStack Query in docs-hooks.md, with the real package.

import assert from "node:assert/strict";
import { afterEach, test, type TestContext } from "node:test";
import type { ReactNode } from "react";
import { connect } from "../src/ginsse.js";
import { newFakeServer } from "../src/testing.js";
import { installDocument, newElement } from "./page.js";

installDocument();
Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });
const { act, createElement: h, Suspense } = await import("react");
const { createRoot } = await import("react-dom/client");
const { notifyManager, QueryClient, QueryClientProvider, useQuery, useSuspenseQuery } = await import("@tanstack/react-query");
const { useTopics } = await import("../src/react.js");
notifyManager.setScheduler(queueMicrotask); // instead of a timer

/** Does something, and renders what follows of it. */
const step = (action: () => unknown) =>
  act(async () => {
    await action();
    await new Promise(setImmediate); // after all microtasks
  });

interface Comment {
  id: number;
  post: string;
  text: string;
}
type Events = { comment: Comment };

/** A server whose answers the test gives, each as of when the request came. */
function newServer() {
  const comments: Comment[] = [];
  const requests: { answer(): void }[] = [];
  return {
    comments,
    requests,
    fetch: (post: string) => {
      const json = JSON.stringify(comments.filter((comment) => comment.post === post));
      return new Promise<Comment[]>((resolve) => requests.push({ answer: () => resolve(JSON.parse(json)) }));
    },
  };
}

/** The recipe. */
function setUp(api: ReturnType<typeof newServer>, fetch: typeof globalThis.fetch) {
  const queryClient = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity } } });
  const stream = connect<Events>("/events", { fetch });

  stream.onStale(async () => {
    await queryClient.cancelQueries(); // an answer that is on its way may be too old
    await queryClient.invalidateQueries();
  });

  stream.on("comment", (comment) => {
    queryClient.setQueryData<Comment[]>(["comments", comment.post], (comments) => comments && merge(comments, comment));
  });

  async function fetchComments(post: string) {
    const meanwhile: Comment[] = [];
    const stop = stream.on("comment", (comment) => {
      if (comment.post === post) meanwhile.push(comment);
    });
    try {
      return meanwhile.reduce(merge, await api.fetch(post));
    } finally {
      stop();
    }
  }

  function merge(comments: Comment[], comment: Comment) {
    return [...comments.filter(({ id }) => id !== comment.id), comment];
  }

  return { queryClient, stream, fetchComments };
}

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function newPage(t: TestContext) {
  const api = newServer();
  const events = newFakeServer<Events>();
  let release!: () => void;
  const released = new Promise<void>((resolve) => (release = resolve));
  const { queryClient, stream, fetchComments } = setUp(api, (...args) => released.then(() => events.fetch(...args)));
  const warn = t.mock.method(console, "error", () => {});
  const element = newElement();
  const root = createRoot(element);
  ends.push(async () => {
    await step(() => root.unmount());
    stream.close();
    queryClient.clear();
    element.remove();
    assert.deepEqual(warn.mock.calls.map((call) => call.arguments), []);
  });
  let id = 0;
  return {
    api, events, queryClient, stream, fetchComments, element,
    render: (node: ReactNode) => step(() => root.render(h(QueryClientProvider, { client: queryClient }, node))),
    /** Lets the stream open. */
    open: () =>
      step(() => {
        release();
        return events.connected();
      }),
    /** Answers the oldest open request. */
    answer: () => step(() => api.requests.shift()!.answer()),
    /** Stores a comment, and sends its event. */
    async comment(text: string, topic?: string) {
      const comment = { id: ++id, post: "7", text };
      api.comments.push(comment);
      await step(() => events.push("comment", comment, topic));
    },
  };
}

type Page = Awaited<ReturnType<typeof newPage>>;

const textOf = (comments: Comment[] | undefined) => comments?.map(({ text }) => text).join() ?? "loading";

const Comments = ({ page }: { page: Page }) =>
  textOf(useQuery({ queryKey: ["comments", "7"], queryFn: () => page.fetchComments("7") }).data);

const SuspendedComments = ({ page }: { page: Page }) =>
  textOf(useSuspenseQuery({ queryKey: ["comments", "7"], queryFn: () => page.fetchComments("7") }).data);

for (const [name, Component] of [["useQuery", Comments], ["useSuspenseQuery", SuspendedComments]] as const) {
  const node = (page: Page) => h(Suspense, { fallback: "loading" }, h(Component, { page }));

  test(`${name}: an event is shown without a fetch`, async (t) => {
    const page = await newPage(t);
    await page.open();
    await page.render(node(page));
    await page.answer();
    await page.comment("a");
    assert.equal(page.element.textContent, "a");
    assert.equal(page.api.requests.length, 0);
  });

  test(`${name}: an event that comes before the first answer is not lost`, async (t) => {
    const page = await newPage(t);
    await page.open();
    await page.render(node(page));
    await page.comment("a"); // later than the answer
    assert.equal(page.element.textContent, "loading");
    await page.answer();
    assert.equal(page.element.textContent, "a");
  });

  test(`${name}: an event that comes during a later fetch is shown at once, and is not lost`, async (t) => {
    const page = await newPage(t);
    await page.open();
    await page.render(node(page));
    await page.answer();
    await step(() => void page.queryClient.invalidateQueries());
    await page.comment("a");
    assert.equal(page.element.textContent, "a");
    await page.answer();
    assert.equal(page.element.textContent, "a");
  });

  test(`${name}: an answer from before the stream does not stay`, async (t) => {
    const page = await newPage(t);
    await page.render(node(page)); // fetches
    page.api.comments.push({ id: 100, post: "7", text: "missed" }); // no stream is open
    await page.open();
    while (page.api.requests.length) await page.answer();
    assert.equal(page.element.textContent, "missed");
  });

  test(`${name}: a gap fetches what was lost, and shows the old state meanwhile`, async (t) => {
    const page = await newPage(t);
    await page.open();
    await page.render(node(page));
    await page.answer();
    await page.comment("a");
    page.api.comments.push({ id: 100, post: "7", text: "lost" });
    await step(() => page.events.gap());
    assert.equal(page.element.textContent, "a");
    await page.answer();
    assert.equal(page.element.textContent, "a,lost");
  });
}

test("a query for a topic is fetched when the stream reads the topic, each time it is mounted", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  await new Promise(setImmediate); // for Node's warning
  const page = await newPage(t);
  const Post = () => {
    const ready = useTopics(page.stream, ["post:7"]);
    return textOf(useQuery({ queryKey: ["comments", "7"], queryFn: () => page.fetchComments("7"), enabled: ready, staleTime: 0 }).data);
  };
  const read = async () => {
    await step(() => {
      const added = page.stream.topics.add("post:7");
      t.mock.timers.tick(1000); // the change goes to the server
      return added;
    });
    page.stream.topics.delete("post:7");
  };
  await page.open();
  await page.render(h(Post));
  assert.equal(page.api.requests.length, 0);
  await page.comment("before", "post:7"); // no client reads it yet
  await read();
  await page.answer();
  assert.equal(page.element.textContent, "before");
  await page.comment("event", "post:7");
  assert.equal(page.element.textContent, "before,event");

  await page.render(null);
  page.api.comments.push({ id: 100, post: "7", text: "meanwhile" });
  await page.render(h(Post));
  assert.equal(page.element.textContent, "before,event");
  await read();
  await page.answer();
  assert.equal(page.element.textContent, "before,event,meanwhile");
});
