// Tries other libraries in the situations that ginsse.js is for, and prints what a page has seen:
//
//   node browser/test/compare/compare.mjs                   # everything: half an hour
//   node browser/test/compare/compare.mjs centrifuge drop   # one library in one situation
//
// It needs Chromium, Go, and `npm ci` in browser/. The libraries are installed into a temporary
// folder, and the server for centrifuge-js is built there. ../../COMPARISON.md has the results.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import * as esbuild from "esbuild";
import { summary } from "../browsers/page.mjs";
import { temporaryFolder, until } from "../browsers/processes.mjs";
import { closeAll, findChromium, launchPuppeteer } from "../browsers/puppeteer.mjs";
import * as backends from "./backends.mjs";
import { startProxy } from "./proxy.mjs";

const packages = [
  "@microsoft/fetch-event-source@2.0.1",
  "centrifuge@5.8.0",
  "eventsource-client@1.2.0",
  "laravel-echo@2.5.0",
  "pusher-js@8.6.0",
  "reconnecting-eventsource@1.6.5",
  "ws@8.23.0",
];

// Options are those of the page: "own" adds code of the page's own, "quick" makes the times for
// dead connections two and a half times the interval of the server's heartbeats. A variant is tried only where it differs.
const contestants = [
  { name: "ginsse", page: "ginsse", server: "kit" },
  { name: "EventSource", page: "eventsource", server: "kit" },
  { name: "EventSource, own code", page: "eventsource", server: "kit", options: { own: true }, only: ["reload"] },
  { name: "reconnecting-eventsource", page: "reconnecting-eventsource", server: "kit" },
  { name: "reconnecting-eventsource, own code", page: "reconnecting-eventsource", server: "kit", options: { own: true }, only: ["reload"] },
  { name: "fetch-event-source", page: "fetch-event-source", server: "kit" },
  { name: "fetch-event-source, own code", page: "fetch-event-source", server: "kit", options: { own: true }, only: ["tabs", "ends", "reload", "refused", "token"] },
  { name: "eventsource-client", page: "eventsource-client", server: "kit" },
  { name: "eventsource-client, own code", page: "eventsource-client", server: "kit", options: { own: true }, only: ["reload", "refused"] },
  { name: "centrifuge", page: "centrifuge", server: "centrifuge" },
  { name: "centrifuge, own code", page: "centrifuge", server: "centrifuge", options: { own: true, quick: true }, only: ["reload", "dead", "path"] },
  { name: "centrifuge over SSE", page: "centrifuge", server: "centrifuge", options: { sse: true } },
  { name: "laravel-echo", page: "laravel-echo", server: "pusher" },
  { name: "laravel-echo, own code", page: "laravel-echo", server: "pusher", options: { quick: true }, only: ["dead", "path"] },
];

const folder = temporaryFolder("compare");
const modules = { ginsse: fileURLToPath(new URL("../../dist/ginsse.js", import.meta.url)) };

/** Bundles a page into a folder of scripts, which it returns. */
async function bundle(page) {
  const scripts = join(folder, page);
  mkdirSync(scripts, { recursive: true });
  await esbuild.build({ ...bundling, entryPoints: [fileURLToPath(new URL(`pages/${page}.js`, import.meta.url))], outfile: join(scripts, "page.js") });
  writeFileSync(join(scripts, "ginsse.js"), ""); // what the page of the kit's server loads is page.js
  writeFileSync(join(scripts, "index.html"), '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>');
  return scripts;
}

const bundling = {
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  logLevel: "error",
  alias: modules,
  nodePaths: [join(folder, "node_modules")],
};

/** Prints what the smallest use of each library weighs. */
async function weigh() {
  const uses = {
    ginsse: 'import { connect } from "ginsse"; connect("/events").on("n", alert);',
    EventSource: 'new EventSource("/events").addEventListener("n", (event) => alert(JSON.parse(event.data)));',
    "reconnecting-eventsource": 'import ES from "reconnecting-eventsource"; new ES("/events").addEventListener("n", (event) => alert(JSON.parse(event.data)));',
    "fetch-event-source": 'import { fetchEventSource } from "@microsoft/fetch-event-source"; fetchEventSource("/events", { onmessage: (event) => alert(JSON.parse(event.data)) });',
    "eventsource-client": 'import { createEventSource } from "eventsource-client"; createEventSource({ url: "/events", onMessage: (event) => alert(JSON.parse(event.data)) });',
    centrifuge: 'import { Centrifuge } from "centrifuge"; const c = new Centrifuge("/events"); const s = c.newSubscription("n"); s.on("publication", (event) => alert(event.data)); s.subscribe(); c.connect();',
    "laravel-echo and pusher-js": 'import Echo from "laravel-echo"; import Pusher from "pusher-js"; new Echo({ broadcaster: "reverb", Pusher, key: "key" }).private("n").listen(".n", alert);',
  };
  for (const [name, contents] of Object.entries(uses)) {
    const { outputFiles: [{ contents: code }] } = await esbuild.build({ ...bundling, stdin: { contents, resolveDir: folder }, write: false });
    console.log(`size | ${name} | ${code.length} bytes, gzip -9 ${gzipSync(code, { level: 9 }).length}, brotli ${brotliCompressSync(code).length}`);
  }
}

/** Prints which mistakes of a page the types of each library find. */
function checkTypes() {
  const mistakes = {
    "an event name; ginsse": 'connect<Events>("/events").on("coment", () => {});',
    "an event name; EventSource": 'new EventSource("/events").addEventListener("coment", () => {});',
    "an event name; reconnecting-eventsource": 'new ReconnectingEventSource("/events").addEventListener("coment", () => {});',
    "an event name; fetch-event-source": 'fetchEventSource("/events", { onmessage: (e) => { e.event === "coment"; } });',
    "an event name; eventsource-client": 'createEventSource({ url: "/events", onMessage: (e) => { e.event === "coment"; } });',
    "an event name; laravel-echo": 'echo.private("channel").listen("coment", () => {});',
    "a field; ginsse": 'connect<Events>("/events").on("comment", (comment) => comment.txt);',
    "a field; EventSource": 'new EventSource("/events").addEventListener("comment", (e) => JSON.parse(e.data).txt);',
    "a field; reconnecting-eventsource": 'new ReconnectingEventSource("/events").addEventListener("comment", (e) => JSON.parse(e.data).txt);',
    "a field; fetch-event-source": 'fetchEventSource("/events", { onmessage: (e) => JSON.parse(e.data).txt });',
    "a field; eventsource-client": 'createEventSource({ url: "/events", onMessage: (e) => JSON.parse(e.data).txt });',
    "a field; centrifuge": 'centrifuge.newSubscription("channel").on("publication", (e) => e.data.txt);',
    "a field; laravel-echo": 'echo.private("channel").listen("comment", (e: any) => e.txt);',
    "an option; ginsse": 'connect("/events", { topik: "a" });',
    "an option; EventSource": 'new EventSource("/events", { withCredential: true });',
    "an option; reconnecting-eventsource": 'new ReconnectingEventSource("/events", { max_retry: 1 });',
    "an option; fetch-event-source": 'fetchEventSource("/events", { onmesage: () => {} });',
    "an option; eventsource-client": 'createEventSource({ url: "/events", onMesage: () => {} });',
    "an option; centrifuge": 'new Centrifuge("/events", { tokn: "" });',
    "an option; laravel-echo": 'new Echo({ broadcaster: "reverb", Pusher, key: "key", wsHst: "" });',
  };
  const common = `
    import { connect } from "ginsse";
    import ReconnectingEventSource from "reconnecting-eventsource";
    import { fetchEventSource } from "@microsoft/fetch-event-source";
    import { createEventSource } from "eventsource-client";
    import { Centrifuge } from "centrifuge";
    import Echo from "laravel-echo";
    import Pusher from "pusher-js";
    type Events = { comment: { text: string } };
    const centrifuge = new Centrifuge("/events");
    const echo = new Echo({ broadcaster: "reverb", Pusher, key: "key" });`;
  writeFileSync(join(folder, "page.ts"), [common.replaceAll("\n", ""), ...Object.values(mistakes)].join("\n"));
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({
    compilerOptions: {
      noEmit: true, strict: true, module: "esnext", moduleResolution: "bundler", target: "es2022",
      lib: ["es2022", "dom", "dom.iterable"], skipLibCheck: true, types: [],
      paths: { ginsse: [modules.ginsse.replace(/js$/, "d.ts")] },
    },
    files: ["page.ts"],
  }));
  const { stdout } = spawnSync(process.execPath, [fileURLToPath(new URL("../../node_modules/typescript/bin/tsc", import.meta.url)), "--pretty", "false"], { cwd: folder, encoding: "utf8" });
  for (const [i, mistake] of Object.keys(mistakes).entries()) {
    const found = stdout.split("\n").find((line) => line.startsWith(`page.ts(${i + 2},`));
    console.log(`types | ${mistake} | ${found ? found.replace(/^\S+ /, "") : "not found"}`);
  }
}

/** One contestant in one situation: a server, a proxy before it, and a session of the browser. */
class Trial {
  tabs = [];

  constructor(server, proxy, browser, user, options) {
    Object.assign(this, { server, proxy, browser, user, options });
  }

  /** Opens a tab with a stream. Throws if that takes longer than five seconds. */
  async open() {
    const tab = await this.browser.newTab();
    this.tabs.push(tab);
    await tab.show();
    await tab.page.goto(this.proxy.url, { timeout: 5000 });
    if (this.tabs.length === 1 && !this.options.withToken) await tab.evaluate((user) => fetch(`/sign-in?user=${user}`), this.user);
    await this.start(tab);
    return tab;
  }

  async start(tab) {
    await until(() => tab.evaluate(() => !!window.start), "the page is loaded", 5000);
    await tab.evaluate((options) => start(options), { user: this.user, ...this.options });
    await until(() => tab.evaluate(() => seen.calls.some((call) => call.startsWith("open"))), "the stream is open", 5000);
  }

  /** Sends count events, numbered from first on. */
  send(count, first = 0) { return this.server.send(this.user, count, first); }

  /** Waits for an event, or a time. Returns how long it took. */
  async has(n, timeout, tab = this.tabs[0]) {
    const began = Date.now();
    const came = await until(() => tab.evaluate((n) => seen.events.includes(n), n), "", timeout).catch(() => false);
    return came ? `in ${Date.now() - began} ms` : `not within ${timeout} ms`;
  }

  /** The events of a tab, and what its library has said since the last time. */
  async seen(tab = this.tabs[0]) {
    const { events, calls } = await tab.evaluate(() => ({ events: seen.events, calls: seen.calls.splice(0) }));
    const counts = new Map();
    for (const call of calls) counts.set(call, (counts.get(call) ?? 0) + 1);
    const said = [...counts].map(([call, count]) => (count > 1 ? `${call.trim()} (${count} times)` : call.trim()));
    return `events ${summary(events) || "none"}; ${said.join(", ") || "said nothing"}`;
  }
}

const situations = {
  /** Eight tabs over HTTP/1.1. */
  async tabs(trial) {
    const shown = [];
    for (let i = 0; i < 8; i++) shown.push(await trial.open().then(() => "opens", () => "hangs"));
    const connections = await trial.server.connections();
    await trial.send(1);
    await delay(1000);
    const have = (tab) => Promise.race([tab.evaluate(() => window.seen?.events.includes(0)), delay(1000)]);
    const got = (await Promise.all(trial.tabs.map(have))).filter(Boolean).length;
    const first = trial.tabs[0];
    await first.show();
    return `${shown.map((text, i) => `${i + 1} ${text}`).join(", ")}; ${connections} connections; ${got} tabs have the event; the first ${await trial.has(0, 3000)} after it is shown`;
  },

  /** A connection that breaks while an event is on its way. */
  async drop(trial) {
    await trial.open();
    await trial.send(3);
    await trial.has(2, 2000);
    trial.proxy.drop();
    await trial.send(3, 3);
    const took = await trial.has(5, 10_000);
    await trial.send(1, 6);
    return `back ${took}, the next event ${await trial.has(6, 5000)}; ${await trial.seen()}`;
  },

  /** A server that ends its streams in an orderly way, and is there again at once. */
  async ends(trial) {
    await trial.open();
    await trial.send(3);
    await trial.has(2, 2000);
    await trial.server.end();
    await trial.send(3, 3);
    const took = await trial.has(5, 10_000);
    await trial.send(1, 6);
    return `back ${took}, the next event ${await trial.has(6, 5000)}; ${await trial.seen()}`;
  },

  /** A deploy behind a proxy: three seconds of 502. */
  async deploy(trial) {
    await trial.open();
    await trial.send(3);
    await trial.has(2, 2000);
    trial.proxy.status = 502;
    trial.proxy.drop();
    await trial.send(5, 3);
    trial.proxy.requests.length = 0;
    await delay(3000);
    const attempts = trial.proxy.requests.length;
    trial.proxy.status = 0;
    const took = await trial.has(7, 15_000);
    await trial.send(1, 8);
    return `${attempts} attempts; back ${took}, the next event ${await trial.has(8, 5000)}; ${await trial.seen()}`;
  },

  /** As deploy, but the page has had no event before. */
  async quiet(trial) {
    await trial.open();
    trial.proxy.status = 502;
    trial.proxy.drop();
    await trial.send(3);
    await delay(1000);
    trial.proxy.status = 0;
    await trial.has(2, 10_000);
    return trial.seen();
  },

  /** A reload, with events meanwhile. */
  async reload(trial) {
    const tab = await trial.open();
    await trial.send(3);
    await trial.has(2, 2000);
    await tab.goto("about:blank");
    await trial.send(3, 3);
    await tab.page.goto(trial.proxy.url);
    await trial.start(tab);
    await trial.send(1, 6);
    await trial.has(6, 5000);
    await delay(300);
    return `after it ${await trial.seen()}`;
  },

  /** More events than the server keeps, while the page is away. */
  async gap(trial) {
    await trial.open();
    await trial.send(3);
    await trial.has(2, 2000);
    await trial.seen();
    trial.proxy.status = 502;
    trial.proxy.drop();
    await trial.send(50, 3);
    await delay(500);
    trial.proxy.status = 0;
    await trial.has(52, 10_000);
    return trial.seen();
  },

  /** The connection of the stream is open but dead. See `attempt` for the heartbeats. */
  dead: (trial) => silence(trial, false),

  /** As dead, but so are the idle connections that the browser keeps for the next request. */
  path: (trial) => silence(trial, true),

  /** A server that refuses the credential for five seconds. */
  async refused(trial) {
    await trial.open();
    await trial.send(1);
    await trial.has(0, 2000);
    await trial.seen();
    await trial.server.refuse(true);
    trial.proxy.requests.length = 0;
    trial.proxy.drop();
    await delay(5000);
    const said = await trial.seen();
    const attempts = trial.proxy.requests.length;
    await trial.server.refuse(false);
    await trial.send(1, 1);
    return `${attempts} attempts; ${said}; after it, back ${await trial.has(1, 10_000)}; ${await trial.seen()}`;
  },

  /** A token in a header, which expires after two seconds. */
  async token(trial) {
    trial.options = { ...trial.options, withToken: true };
    await trial.open();
    const heads = () => trial.proxy.requests.filter((head) => /\r\nauthorization: Bearer ./i.test(head)).map((head) => head.split(" HTTP")[0]);
    await delay(8000);
    await trial.send(1);
    return `event after eight seconds ${await trial.has(0, 5000)}; ${await trial.seen()}; requests with the header: ${[...new Set(heads())].join(", ") || "none"}`;
  },

  /** A stream that is the answer to a POST. The server has no such route: the request counts. */
  async post(trial) {
    trial.options = { ...trial.options, post: true };
    await trial.open().catch(() => {});
    const posts = trial.proxy.requests.filter((head) => head.startsWith("POST /events "));
    return posts.length ? "sends a POST" : "sends none";
  },

  /** Three tabs of which the first dies while events are sent. */
  async crash(trial) {
    const [first, ...others] = [await trial.open(), await trial.open(), await trial.open()];
    await first.pid();
    await others[0].show();
    const sending = (async () => {
      for (let n = 0; n < 200; n++) {
        await trial.send(1, n);
        await delay(10);
      }
    })();
    await delay(500);
    await first.crash();
    await sending;
    const took = await Promise.all(others.map((tab) => trial.has(199, 5000, tab)));
    return `the last event ${took.join(" and ")}; ${await trial.seen(others[0])}; ${await trial.seen(others[1])}`;
  },
};

async function silence(trial, all) {
  await trial.open();
  await trial.send(3);
  await trial.has(2, 2000);
  await trial.seen();
  trial.proxy.freeze(all);
  await trial.send(1, 3);
  const began = Date.now();
  const told = await until(() => trial.tabs[0].evaluate(() => seen.calls.length), "", 75_000).then(() => `after ${Date.now() - began} ms`, () => "not within 75 seconds");
  const took = told.startsWith("after") ? await trial.has(3, 75_000) : "not";
  return `noticed ${told}, then back ${took}; ${await trial.seen()}`;
}

async function attempt(contestant, situation) {
  const { name, page, server: kind, options = {} } = contestant;
  const keep = situation === "gap" ? 10 : 100_000;
  // centrifuge tells its interval in whole seconds.
  const heartbeat = !["dead", "path"].includes(situation) ? "25s" : kind === "centrifuge" ? "1s" : "300ms";
  const server = await backends[kind](await bundle(page), { keep, heartbeat, folder });
  const proxy = await startProxy(server.url);
  const browser = await launchPuppeteer("chromium", findChromium());
  try {
    const user = `u-${name.replaceAll(/\W/g, "")}-${situation}`;
    return await situations[situation](new Trial(server, proxy, browser, user, options));
  } catch (error) {
    return `failed: ${error.message}`;
  } finally {
    await browser.close();
    proxy.close();
    await server.close();
  }
}

const wanted = process.argv.slice(2);
const chosen = (names, name) => !wanted.some((word) => names.includes(word)) || wanted.includes(name);
execFileSync("npm", ["install", "--prefix", folder, "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", ...packages], { stdio: "inherit" });
const all = ["size", "types", ...Object.keys(situations)];
if (chosen(all, "size")) await weigh();
if (chosen(all, "types")) checkTypes();
for (const situation of Object.keys(situations)) {
  if (!chosen(all, situation)) continue;
  for (const contestant of contestants) {
    if (!chosen(contestants.map(({ name }) => name), contestant.name)) continue;
    if (contestant.only && !contestant.only.includes(situation)) continue;
    console.log(`${situation} | ${contestant.name} | ${await attempt(contestant, situation)}`);
  }
}
await closeAll();
