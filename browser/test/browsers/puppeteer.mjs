// Chromium and Firefox, by puppeteer: the DevTools protocol and WebDriver BiDi.

import { setTimeout as delay } from "node:timers/promises";
import puppeteer from "puppeteer-core";
import { adopt, busiest, find, isRunning, stop, temporaryFolder, until } from "./processes.mjs";

/** Messages about failed requests, which tests cause on purpose. */
const aboutNetwork = [
  /^Failed to load resource: /, // Chromium
  /^(The connection to|Firefox can’t establish a connection to the server at) \S+/,
];

export const findChromium = () => find("chromium", "chromium-browser", "google-chrome", "google-chrome-stable");
export const findFirefox = () => find("firefox-esr", "firefox");

const options = {
  chromium: {
    browser: "chrome",
    args: [
      ...(process.getuid() === 0 ? ["--no-sandbox"] : []), // root cannot use the sandbox
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  },
  firefox: {
    browser: "firefox",
    extraPrefsFirefox: {
      // A process for each tab, so that one can crash without the others.
      "dom.ipc.processCount": 64,
      "dom.ipc.processCount.webIsolated": 64,
    },
  },
};

/** The running browser of each engine, which the sessions without a profile share. */
const running = new Map();

/** The timers of hidden tabs as users have them, but slow after 3 s instead of 5 minutes. */
const slowTimers = {
  args: [...options.chromium.args, "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/3"],
  ignoreDefaultArgs: ["--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding"],
};

/** Starts a program, "chromium" or "firefox". */
async function startBrowser(name, executablePath, userDataDir = temporaryFolder(name), more = {}) {
  const program = await puppeteer.launch({ ...options[name], ...more, executablePath, userDataDir, headless: true, acceptInsecureCerts: true });
  adopt(program.process());
  return program;
}

/**
 * Opens a session. With a profile, a folder, it is a browser of its own, and what pages store is
 * there for the next start. With slow, which only Chromium can, the timers of hidden tabs are slow.
 */
export async function launchPuppeteer(name, executablePath, { profile, slow } = {}) {
  if (profile || slow) {
    const program = await startBrowser(name, executablePath, profile, slow && slowTimers);
    return new Browser(name, program, program.defaultBrowserContext(), true);
  }
  if (!running.get(name)?.connected) running.set(name, await startBrowser(name, executablePath));
  const program = running.get(name);
  return new Browser(name, program, await program.createBrowserContext());
}

/** Ends the browsers that the sessions have shared. */
export async function closeAll() {
  for (const program of running.values()) await kill(program);
  running.clear();
}

async function kill(program) {
  await stop(program.process(), "SIGKILL"); // puppeteer starts a process group
  await program.close().catch(() => {});
}

class Browser {
  errors = [];
  tabs = new Set();
  #program;
  #context;
  #alone;
  #spare;
  #offline = false;

  constructor(name, program, context, alone = false) {
    this.name = name;
    this.can = { hide: true, freeze: name === "chromium", measure: name === "chromium", suspend: true, crash: true, offline: true, profile: true };
    this.#program = program;
    this.#context = context;
    this.#alone = alone; // the program has no other session
  }

  version() {
    return this.#program.version();
  }

  get pid() {
    return this.#program.process().pid;
  }

  async newTab(url) {
    const page = await this.#context.newPage();
    const tab = new Tab(this, page);
    this.tabs.add(tab);
    if (this.#offline) await page.setOfflineMode(true);
    if (url) await tab.goto(url);
    return tab;
  }

  /** Shows an empty tab, so that the others are hidden. */
  async showSpare() {
    this.#spare ??= await this.#context.newPage();
    await this.#spare.bringToFront();
  }

  /** Takes the tabs off the network, or back. Open streams stay open, but new requests fail. */
  async offline(offline) {
    this.#offline = offline;
    for (const tab of this.tabs) await tab.page.setOfflineMode(offline);
  }

  /** Ends the session. A browser with a profile first stores what pages have set. */
  async close() {
    for (const tab of this.tabs) await tab.wake();
    const closing = this.#alone ? this.#program.close() : this.#context.close();
    const closed = await Promise.race([closing.then(() => true, () => false), delay(15_000, false, { ref: false })]);
    if (this.#alone || !closed) await kill(this.#program);
  }
}

class Tab {
  page;
  #browser;
  #pid;
  #suspended = false;

  constructor(browser, page) {
    this.#browser = browser;
    this.page = page;
    page.on("pageerror", (error) => this.#report(error.stack ?? String(error), error.message));
    page.on("console", (message) => {
      if (message.type() === "error") this.#report(message.text(), message.text());
    });
  }

  #report(text, message) {
    if (!aboutNetwork.some((pattern) => pattern.test(message))) this.#browser.errors.push(text);
  }

  async goto(url) { await this.page.goto(url); }
  async reload() { await this.page.reload(); }
  async back() { await this.page.goBack(); }
  async evaluate(fn, ...args) { return this.page.evaluate(fn, ...args); }

  /** Shows the tab, which hides the others. */
  async show() { await this.page.bringToFront(); }
  async hide() { await this.#browser.showSpare(); }

  /** Freezes the page as Chromium does with tabs in the background: no task of it runs. */
  async freeze() { await this.#setLifecycle("frozen"); }
  async thaw() { await this.#setLifecycle("active"); }

  async #setLifecycle(state) {
    const session = await this.page.createCDPSession();
    await session.send("Page.setWebLifecycleState", { state });
    await session.detach();
  }

  /** The bytes of the page's scripts that are in use. */
  async heap() {
    const session = await this.page.createCDPSession();
    await session.send("HeapProfiler.collectGarbage");
    const { usedSize } = await session.send("Runtime.getHeapUsage");
    await session.detach();
    return usedSize;
  }

  /** The process that runs the page. */
  async pid() {
    this.#pid ??= await busiest(this.#browser.pid, () => this.evaluate(() => {
      const end = performance.now() + 150;
      while (performance.now() < end);
    }));
    return this.#pid;
  }

  /** Stops the process of the page, as on a machine that sleeps. */
  async suspend() {
    process.kill(await this.pid(), "SIGSTOP");
    this.#suspended = true;
  }

  async resume() {
    this.#suspended = false;
    process.kill(await this.pid(), "SIGCONT");
  }

  /** Resumes the tab if it is suspended. */
  async wake() {
    if (this.#suspended) await this.resume();
  }

  /** Kills the process of the page. Nothing more can be done with the tab, except to close it. */
  async crash() {
    const pid = await this.pid();
    process.kill(pid, "SIGKILL");
    await until(() => !isRunning(pid), "the process ends");
    this.#suspended = false;
  }

  async close() {
    this.#browser.tabs.delete(this);
    await this.page.close();
  }
}
