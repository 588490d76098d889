// The server of the tests: see ../server. Each control of it is a method here.

import { execFile } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { start, stop, temporaryFolder } from "./processes.mjs";

let built; // a promise of the program's path

/** Builds the server, once for each test file. */
function build() {
  built ??= (async () => {
    const program = join(temporaryFolder("server"), "server");
    await promisify(execFile)("go", ["build", "-o", program, "."], { cwd: fileURLToPath(new URL("../server", import.meta.url)) });
    return program;
  })();
  return built;
}

/**
 * Starts a server. Options are its flags: { scripts, heartbeat: "300ms", retry: "100ms",
 * "streams-per-user": 16, keep: 100000 }.
 */
export async function startServer(options = {}) {
  const flags = Object.entries(options).map(([name, value]) => `-${name}=${value}`);
  const child = await start(await build(), flags, { stdio: ["pipe", "pipe", "inherit"] });
  const first = once(createInterface(child.stdout), "line");
  const ended = once(child, "exit").then(([code]) => Promise.reject(new Error(`the server ended with ${code}`)));
  ended.catch(() => {}); // matters only while it starts
  const [line] = await Promise.race([first, ended]);
  return new Server(child, JSON.parse(line));
}

class Server {
  #child;
  #addresses;

  constructor(child, addresses) {
    this.#child = child;
    this.#addresses = addresses;
  }

  /** URLs of the page, and for a proxy. */
  get http() { return this.#addresses.http; }
  get https() { return this.#addresses.https; }
  get upstream() { return this.#addresses.upstream; }

  async #control(name, parameters = {}) {
    const response = await fetch(`${this.#addresses.control}/test/${name}`, { method: "POST", body: JSON.stringify(parameters) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${name}: ${text}`);
    return JSON.parse(text);
  }

  /** Sends events: { user | topic, type, data, count, first, interval }. Resolves when the log has all. */
  send(event) { return this.#control("send", event); }

  /** Ends the streams of a user: { user, reason }. */
  disconnect(parameters) { return this.#control("disconnect", parameters); }

  /** Resets the connections of all streams. */
  drop() { return this.#control("drop"); }

  /** Leaves the streams open, but writes nothing: { for: milliseconds, connections }. */
  freeze(parameters) { return this.#control("freeze", parameters); }

  /** Answers the next requests: { status, retryAfter, contentType, body, delay, times = 1 }. */
  refuse(parameters) { return this.#control("refuse", { times: 1, ...parameters }); }

  /** Answers the next requests of control(), as refuse(). */
  refuseControl(parameters) { return this.#control("refuse-control", { times: 1, ...parameters }); }

  /** Has the open streams of a user read a topic, or read it no more: { user, topic }. */
  grant(parameters) { return this.#control("grant", parameters); }
  revoke(parameters) { return this.#control("revoke", parameters); }

  /** Puts a new registry in the place of the old one: { newLog }. */
  restart(parameters) { return this.#control("restart", parameters); }

  /** Refuses connections to "http", "https" or "upstream", and closes the open ones. */
  stop(name) { return this.#control("stop", { name }); }
  start(name) { return this.#control("start", { name }); }

  /** { open, most, opened, attempts, last, controls }: see streamList in ../server/control.go. */
  streams(parameters) { return this.#control("streams", parameters); }

  async close() {
    this.#child.stdin.end();
    await stop(this.#child);
  }
}
