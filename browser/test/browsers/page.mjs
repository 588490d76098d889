// A page of the tests with a stream. What the stream does is kept in the page:
// window.seen.events are the numbers of the events, window.seen.calls the states and the gaps.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { until } from "./processes.mjs";

/** The folder with the module under test. */
export const scripts = fileURLToPath(new URL("../../dist", import.meta.url));

/** Opens a tab for a user, and connects. */
export async function open(browser, url, user, options = {}) {
  const page = new Page(await browser.newTab(url), options);
  if (user) await page.tab.evaluate((user) => fetch(`/sign-in?user=${user}`), user);
  await page.connect();
  return page;
}

class Page {
  constructor(tab, options) {
    this.tab = tab;
    this.options = options;
  }

  /**
   * Connects with the options of the page: values only, because they go to the browser. The events
   * that the tab has seen before a reload are kept.
   */
  async connect(options = this.options) {
    await until(() => this.tab.evaluate(() => !!window.connect), "the page has loaded");
    await this.tab.evaluate(async ({ native, state, ...options }) => {
      if (native) options.transport = (await import("/eventsource.js")).eventSource();
      if (options.control) options.control = (await import("/control.js")).control(options.control);
      window.seen = { events: JSON.parse(sessionStorage.seen ?? "[]"), calls: [], topical: [], states: [], pause: 0, at: 0 };
      window.stream = connect(state ? "/events?state=1" : "/events", options);
      stream.on("state", (topic) => seen.states.push(topic));
      stream.onState((state, { reason, status }) => seen.calls.push([state, reason, status].filter(Boolean).join(" ")));
      stream.onStale((reason) => seen.calls.push("stale " + reason));
      stream.on("n", ({ n }) => {
        seen.events.push(n);
        const now = performance.now();
        if (seen.at) seen.pause = Math.max(seen.pause, now - seen.at);
        seen.at = now;
      });
      stream.on("topical", (data) => seen.topical.push(data));
      addEventListener("pagehide", () => (sessionStorage.seen = JSON.stringify(seen.events)));
    }, options);
  }

  calls() { return this.tab.evaluate(() => seen.calls); }
  events() { return this.tab.evaluate(() => seen.events); }
  /** The longest time between two events, in milliseconds. */
  async longestPause() { return Math.round(await this.tab.evaluate(() => seen.pause)); }
  state() { return this.tab.evaluate(() => stream.state); }

  /** Waits until the stream is in a state. */
  is(state, within) { return until(async () => (await this.state()) === state, `the stream is ${state}`, within); }
  live(within) { return this.is("live", within); }

  /** Waits until the page has the event n, and checks that it got all before, once and in order. */
  async has(last, first = 0) {
    await until(() => this.tab.evaluate((last) => seen.events.at(-1) >= last, last), `event ${last} arrives`).catch(async (error) => {
      throw new Error(`${error.message}; the page has ${summary(await this.events())} and ${await this.calls()}`);
    });
    this.check(await this.events(), first, last);
  }

  check(events, first, last) {
    assert.deepEqual(events, Array.from({ length: last - first + 1 }, (_, i) => first + i), `events ${summary(events)}`);
  }
}

/** Runs of consecutive numbers: "0-8 12". */
export function summary(events) {
  const runs = [];
  for (const n of events) {
    if (runs.length && runs.at(-1)[1] === n - 1) runs.at(-1)[1] = n;
    else runs.push([n, n]);
  }
  return runs.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(" ");
}
