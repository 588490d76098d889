// The real useChat of the AI SDK, in React, on a server of the kit; see ../ai_test.go.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Window } from "happy-dom";

const server = process.env.SERVER;
const window = new Window({ url: server });
globalThis.window = window;
for (const name of ["document", "navigator", "HTMLElement", "HTMLIFrameElement"]) {
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true });
}

const { createElement } = await import("react");
const { createRoot } = await import("react-dom/client");
const { useChat } = await import("@ai-sdk/react");
const { DefaultChatTransport } = await import("ai");

// Page is what a browser shows of a chat. A reload is another Page with the same chat.
class Page {
  constructor(id, { resume = false, messages = [] } = {}) {
    this.requests = [];
    this.errors = [];
    const transport = new DefaultChatTransport({
      api: `${server}/api/chat`,
      // A page that is left ends its requests.
      fetch: async (url, init) => {
        this.leaving ??= new AbortController();
        const response = await fetch(url, { ...init, signal: AbortSignal.any([this.leaving.signal, ...(init.signal ? [init.signal] : [])]) });
        this.requests.push([init.method, response.status]);
        return response;
      },
    });
    const Chat = () => {
      this.chat = useChat({ id, messages, resume, transport, onError: (error) => this.errors.push(error) });
      return null;
    };
    this.root = createRoot(document.createElement("div"));
    this.root.render(createElement(Chat));
  }

  // text is the text of the newest answer.
  get text() {
    const last = this.chat?.messages.at(-1);
    return last?.role === "assistant" ? last.parts.filter((part) => part.type === "text").map((part) => part.text).join("") : "";
  }

  leave() {
    this.leaving?.abort();
    this.root.unmount();
  }
}

const until = async (what, condition) => {
  for (let tries = 0; !condition(); tries++) {
    assert.ok(tries < 3000, `waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};

const mounted = (page) => until("the page", () => page.chat);
const words = (count) => Array.from({ length: count }, (_, n) => `${n} `).join("");
const state = async (id) => (await fetch(`${server}/state/${id}`)).json();
const ask = async (page, count) => {
  await mounted(page);
  page.chat.sendMessage({ text: "count" }, { body: { words: count } }).catch(() => {});
};
const question = { id: "q", role: "user", parts: [{ type: "text", text: "count" }] };

test("an answer", async () => {
  const page = new Page("answer");
  await ask(page, 20);
  await until("the answer", () => page.chat.status === "ready" && page.text !== "");
  assert.equal(page.text, words(20));
  assert.equal(page.chat.messages.length, 2);
  assert.deepEqual(page.errors, []);
  page.leave();
});

// The answer takes 4 s, so that it is not over before a busy machine has loaded the pages again.
test("a reload in the middle, and a second tab", async () => {
  const page = new Page("reload");
  await ask(page, 200);
  await until("some words", () => page.text.length > 20);
  page.leave();
  const pages = [1, 2].map(() => new Page("reload", { resume: true, messages: [question] }));
  await Promise.all(pages.map(mounted));
  for (const page of pages) {
    await until("all words", () => page.text === words(200));
    await until("the end", () => page.chat.status === "ready");
    assert.equal(page.chat.messages.length, 2);
    assert.deepEqual(page.requests, [["GET", 200]]);
    assert.deepEqual(page.errors, []);
    page.leave();
  }
  assert.equal((await state("reload")).answer, words(200));
});

test("a resume after the end", async () => {
  const first = new Page("late");
  await ask(first, 3);
  await until("the answer", () => first.chat.status === "ready" && first.text === words(3));
  const messages = first.chat.messages;
  first.leave();
  const page = new Page("late", { resume: true, messages });
  await mounted(page);
  await until("the answer of the server", () => page.requests.length > 0);
  assert.deepEqual(page.requests, [["GET", 204]]);
  await until("the page to be ready", () => page.chat.status === "ready");
  assert.equal(page.text, words(3));
  assert.deepEqual(page.errors, []);
  page.leave();
});

test("stop", async () => {
  const page = new Page("stop");
  await ask(page, 10_000);
  const other = new Page("stop", { resume: true, messages: [question] });
  await until("some words", () => page.text.length > 10);
  const before = (await state("stop")).stopped;
  assert.equal((await fetch(`${server}/api/chat/stop/stream`, { method: "DELETE" })).status, 204);
  await until("the end", () => page.chat.status === "ready");
  assert.ok(page.text.length < 1000);
  assert.equal((await state("stop")).stopped, before + 1);
  assert.deepEqual(page.errors, []);
  page.leave();
  other.leave();
});

test("a connection that breaks", async () => {
  const page = new Page("broken");
  await ask(page, 200);
  await until("some words", () => page.text.length > 20);
  await fetch(`${server}/disconnect`, { method: "POST" });
  await until("the error", () => page.chat.status === "error");
  await page.chat.resumeStream();
  await until("all words", () => page.text === words(200));
  await until("the end", () => page.chat.status === "ready");
  assert.equal(page.chat.messages.length, 2);
  page.leave();
});

test("a model that fails", async () => {
  const page = new Page("fails");
  await ask(page, -5);
  await until("the error", () => page.chat.status === "error");
  assert.equal(page.text, words(5));
  page.leave();
});
