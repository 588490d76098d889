// WebKit, by plain requests of W3C WebDriver to Debian's WebKitWebDriver. The browser is MiniBrowser
// of WebKitGTK, which needs an X server.

import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { busiest, find, freePort, start, stop, until } from "./processes.mjs";

/** What WebKit needs of the machine, or undefined if something is missing. */
export function findWebKit() {
  const driver = find("WebKitWebDriver");
  const display = find("Xvfb");
  const browser = readdirSync("/usr/lib")
    .flatMap((folder) => ["webkit2gtk-4.1", "webkitgtk-6.0"].map((version) => join("/usr/lib", folder, version, "MiniBrowser")))
    .find((path) => existsSync(path));
  return driver && display && browser ? { driver, display, browser } : undefined;
}

export async function launchWebKit(_name, paths) {
  const processes = [];
  try {
    const display = await start(paths.display, ["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"]);
    processes.push(display);
    const [number] = await once(display.stdout.setEncoding("utf8"), "data");
    const port = await freePort();
    const env = {
      ...process.env,
      DISPLAY: `:${number.trim()}`,
      GDK_BACKEND: "x11",
      NO_AT_BRIDGE: "1", // looks for no accessibility bus
      // As root the sandbox does not start.
      ...(process.getuid() === 0 && { WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1" }),
    };
    const driver = await start(paths.driver, [`--port=${port}`], { env, stdio: ["ignore", "ignore", "pipe"] });
    processes.unshift(driver);
    const url = `http://127.0.0.1:${port}`;
    await until(() => fetch(`${url}/status`).then((response) => response.ok, () => false), "WebKitWebDriver starts");
    const session = await command("POST", `${url}/session`, {
      capabilities: {
        alwaysMatch: {
          browserName: "MiniBrowser",
          acceptInsecureCerts: true,
          "webkitgtk:browserOptions": { binary: paths.browser, args: ["--automation"] },
        },
      },
    });
    return new WebKit(`${url}/session/${session.sessionId}`, session.capabilities, processes);
  } catch (error) {
    for (const child of processes) await stop(child, "SIGKILL");
    throw error;
  }
}

/** Sends a command of WebDriver and returns its value. */
async function command(method, url, body) {
  const response = await fetch(url, {
    method,
    ...(body && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
    signal: AbortSignal.timeout(30_000),
  });
  const { value } = await response.json();
  if (!response.ok) throw new Error(`${method} ${new URL(url).pathname}: ${value.error}: ${value.message}`);
  return value;
}

class WebKit {
  name = "webkit";
  can = { hide: false, freeze: false, measure: false, suspend: true, crash: false, offline: false, profile: false };
  errors = [];
  tabs = new Set();
  #url;
  #version;
  #processes; // the driver first
  #current; // the window that commands go to
  #queue = Promise.resolve();

  constructor(url, capabilities, processes) {
    this.#url = url;
    this.#version = `${capabilities.browserName} ${capabilities.browserVersion}`;
    this.#processes = processes;
  }

  async version() {
    return this.#version;
  }

  /** The process above all processes of the browser. */
  get pid() {
    return this.#processes[0].pid;
  }

  /** Sends a command to a window. Commands to different windows must not overlap. */
  send(handle, method, path, body) {
    const sent = this.#queue.then(async () => {
      if (handle !== undefined && handle !== this.#current) {
        await command("POST", `${this.#url}/window`, { handle });
        this.#current = handle;
      }
      return command(method, this.#url + path, body);
    });
    this.#queue = sent.catch(() => {});
    return sent;
  }

  async newTab(url) {
    const handles = await this.send(undefined, "GET", "/window/handles");
    // The first window is there from the start.
    const { handle } = this.tabs.size === 0 && handles.length === 1 ? { handle: handles[0] } : await this.send(handles[0], "POST", "/window/new", { type: "tab" });
    const tab = new WebKitTab(this, handle);
    this.tabs.add(tab);
    await tab.goto(url);
    return tab;
  }

  async close() {
    for (const child of this.#processes) await stop(child, "SIGKILL");
  }
}

class WebKitTab {
  #browser;
  #handle;
  #calls = 0;
  #pid;

  constructor(browser, handle) {
    this.#browser = browser;
    this.#handle = handle;
  }

  #send(method, path, body) {
    return this.#browser.send(this.#handle, method, path, body);
  }

  async goto(url) {
    await this.collectErrors();
    await this.#send("POST", "/url", { url });
  }

  async reload() {
    await this.collectErrors();
    await this.#send("POST", "/refresh", {});
  }

  async back() {
    await this.collectErrors();
    await this.#send("POST", "/back", {});
  }

  /**
   * The function starts in one command, and others ask for its result, so that functions in several
   * tabs can wait for each other.
   */
  async evaluate(fn, ...args) {
    const call = `${++this.#calls}`;
    await this.#send("POST", "/execute/sync", {
      script: `const results = (window.pageResults ??= {});
        (async (...args) => (${fn})(...args))(...arguments[1]).then(
          (value) => (results[arguments[0]] = { value }),
          (error) => (results[arguments[0]] = { error: String(error?.stack ? error + "\\n" + error.stack : error) }));`,
      args: [call, args],
    });
    const result = await until(
      () =>
        this.#send("POST", "/execute/sync", {
          script: `const result = window.pageResults?.[arguments[0]];
            if (!window.pageResults) return { error: "the page has gone" };
            if (result) delete pageResults[arguments[0]];
            return result;`,
          args: [call],
        }),
      `evaluate ${fn}`,
      60_000,
    );
    if ("error" in result) throw new Error(result.error);
    return result.value;
  }

  /** Moves the errors that errors.js has found to those of the browser. */
  async collectErrors() {
    const found = await this.#send("POST", "/execute/sync", {
      script: `const found = window.pageErrors ?? []; window.pageErrors = []; return found;`,
      args: [],
    });
    this.#browser.errors.push(...found);
  }

  /** The process that runs the page. */
  async pid() {
    this.#pid ??= await busiest(this.#browser.pid, () => this.evaluate(() => {
      const end = performance.now() + 150;
      while (performance.now() < end);
    }));
    return this.#pid;
  }

  async suspend() { process.kill(await this.pid(), "SIGSTOP"); }
  async resume() { process.kill(await this.pid(), "SIGCONT"); }

  async close() {
    await this.collectErrors();
    this.#browser.tabs.delete(this);
    await this.#send("DELETE", "/window");
  }
}
