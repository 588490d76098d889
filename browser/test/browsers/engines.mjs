// Three browser engines behind one interface. What an engine cannot do is false in `browser.can`:
//
//   can      | what                                        | Chromium | Firefox | WebKit
//   ---------|---------------------------------------------|----------|---------|-------
//   hide     | tab.show(), tab.hide()                      | yes      | yes     | no: tabs open in the background, and nothing shows them
//   freeze   | tab.freeze(), tab.thaw(): the page          | yes      | no      | no
//   suspend  | tab.suspend(), tab.resume(): the process    | yes      | yes     | yes
//   crash    | tab.crash()                                 | yes      | yes     | no: a crash ends the driver's session
//   measure  | tab.heap()                                  | yes      | no      | no
//   offline  | browser.offline(true)                       | yes      | yes     | no
//   profile  | launch(name, { profile }): is kept on disk  | yes      | yes     | no: sessions of the driver are private
//
// Every tab has a process of its own, and all tabs of a browser one session: cookies, locks and
// BroadcastChannels. A tab has goto(url), reload(), back(), evaluate(fn, ...args), which waits for
// the function's promise, and close(). WebKit's `evaluate` asks every 20 ms.
//
// Errors on the console and exceptions that nothing has caught fail the test: see withBrowser.
// Messages about failed requests do not count.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { closeAll, findChromium, findFirefox, launchPuppeteer } from "./puppeteer.mjs";
import { findWebKit, launchWebKit } from "./webkit.mjs";

const engines = {
  chromium: { find: findChromium, launch: launchPuppeteer, packages: "chromium", required: "BROWSER_TESTS" },
  firefox: { find: findFirefox, launch: launchPuppeteer, packages: "firefox-esr", required: "BROWSER_TESTS" },
  webkit: { find: findWebKit, launch: launchWebKit, packages: "webkit2gtk-driver xvfb", required: "WEBKIT_TESTS" },
};

/** The engines that the environment variable BROWSERS names, such as "chromium,firefox"; else all. */
export const chosen = (process.env.BROWSERS || Object.keys(engines).join()).split(",");
for (const name of chosen) assert.ok(engines[name], `BROWSERS: there is no ${name}`);

/**
 * Registers a test for each chosen engine: `each("…", async (t, name) => …)`. An engine that is not
 * installed skips the test, or fails it with BROWSER_TESTS=required or WEBKIT_TESTS=required.
 */
export function each(title, fn, { timeout = 120_000 } = {}) {
  for (const name of chosen) {
    const { find, packages, required } = engines[name];
    test(`${name}: ${title}`, { timeout }, async (t) => {
      if (find()) return fn(t, name);
      skip(t, name, packages, required);
    });
  }
}

/** Skips a test because a program is missing, or fails it if the program is required. */
export function skip(t, name, packages, required = "BROWSER_TESTS") {
  const missing = `${name} is not installed; on Debian: apt-get install ${packages}`;
  if (process.env[required] === "required") assert.fail(missing);
  t.skip(missing);
}

after(closeAll);

/**
 * Opens a browser with a session of its own, which the caller closes. Chromium and Firefox start
 * once for each test file, WebKit each time.
 */
export async function launch(name, options) {
  const { find, launch } = engines[name];
  return launch(name, find(), options);
}

/** Runs fn with a browser, which is closed after it. Errors in the browser's pages fail the test. */
export async function withBrowser(name, fn, options) {
  const browser = await launch(name, options);
  try {
    await fn(browser);
    await check(browser);
  } finally {
    await browser.close();
  }
}

/** Fails if there were errors in the browser's pages. */
export async function check(browser) {
  for (const tab of browser.tabs) await tab.collectErrors?.();
  assert.deepEqual(browser.errors, [], "errors in the page");
}
