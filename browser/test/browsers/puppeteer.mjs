// Chromium and Firefox, by puppeteer: the DevTools protocol and WebDriver BiDi.

import { setTimeout as delay } from "node:timers/promises";
import puppeteer from "puppeteer-core";
import { busiest, find } from "./processes.mjs";

const spare = "about:blank"; // shown to hide the others

/** Messages about failed requests, which tests cause on purpose. */
const aboutNetwork = [
  /^Failed to load resource: /, // Chromium
  /^(The connection to|Firefox can’t establish a connection to the server at) \S+/,
];

export const findChromium = () => find("chromium", "chromium-browser", "google-chrome", "google-chrome-stable");
export const findFirefox = () => find("firefox-esr", "firefox");

/** Starts Chromium. With a profile, a folder, what it stores is there for the next start. */
export async function launchChromium(executablePath, { profile } = {}) {
  const browser = await puppeteer.launch({
    browser: "chrome",
    executablePath,
    headless: true,
    acceptInsecureCerts: true,
    userDataDir: profile,
    args: [
      ...(process.getuid() === 0 ? ["--no-sandbox"] : []), // root cannot use the sandbox
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  return new Browser("chromium", browser, await browser.version(), profile);
}

/** Starts Firefox. For the profile see launchChromium. */
export async function launchFirefox(executablePath, { profile } = {}) {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath,
    headless: true,
    acceptInsecureCerts: true,
    userDataDir: profile,
    extraPrefsFirefox: {
      // A process for each tab, so that one can crash without the others.
      "dom.ipc.processCount": 64,
      "dom.ipc.processCount.webIsolated": 64,
    },
  });
  return new Browser("firefox", browser, await browser.version(), profile);
}

class Browser {
  can;
  errors = [];
  tabs = new Set();
  #browser;
  #profile;
  #spare;
  #offline = false;

  constructor(name, browser, version, profile) {
    this.name = name;
    this.version = version;
    this.can = { hide: true, freeze: name === "chromium", suspend: true, crash: true, offline: true, profile: true };
    this.#browser = browser;
    this.#profile = profile;
  }

  get pid() {
    return this.#browser.process().pid;
  }

  async newTab(url) {
    const page = await this.#browser.newPage();
    const tab = new Tab(this, page);
    this.tabs.add(tab);
    if (this.#offline) await page.setOfflineMode(true);
    if (url) await tab.goto(url);
    return tab;
  }

  /** Shows an empty tab, so that the others are hidden. */
  async showSpare() {
    this.#spare ??= await this.#browser.newPage();
    await this.#spare.goto(spare);
    await this.#spare.bringToFront();
  }

  /** Takes the tabs off the network, or back. Open streams stay open, but new requests fail. */
  async offline(offline) {
    this.#offline = offline;
    for (const tab of this.tabs) await tab.page.setOfflineMode(offline);
  }

  /** Ends the browser. With a profile, it first stores what pages have set. */
  async close() {
    const child = this.#browser.process();
    for (const tab of this.tabs) await tab.resume({ ifSuspended: true });
    if (this.#profile) {
      await Promise.race([this.#browser.close().catch(() => {}), delay(15_000, undefined, { ref: false })]);
    }
    if (child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      process.kill(-child.pid, "SIGKILL"); // puppeteer starts a group, and removes the profile afterwards
      await ended;
    }
    await this.#browser.close().catch(() => {});
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

  /** The process that runs the page. */
  async pid() {
    this.#pid ??= await busiest(this.#browser.pid, () => this.evaluate(() => {
      const end = performance.now() + 300;
      while (performance.now() < end);
    }));
    return this.#pid;
  }

  /** Stops the process of the page, as on a machine that sleeps. */
  async suspend() {
    process.kill(await this.pid(), "SIGSTOP");
    this.#suspended = true;
  }

  async resume({ ifSuspended = false } = {}) {
    if (ifSuspended && !this.#suspended) return;
    this.#suspended = false;
    process.kill(await this.pid(), "SIGCONT");
  }

  /** Kills the process of the page. Nothing more can be done with the tab, except to close it. */
  async crash() {
    process.kill(await this.pid(), "SIGKILL");
  }

  async close() {
    this.#browser.tabs.delete(this);
    await this.page.close();
  }
}
