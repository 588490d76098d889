// Processes that the tests start. They end with the test, also when it fails.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** Processes that were started and have not ended. Each leads a process group of its own. */
const running = new Set();

process.on("exit", () => running.forEach((child) => signalGroup(child, "SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.once(signal, () => process.exit(1));
}

function signalGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
}

/** Starts a program. `child.output` is what it has written to standard error. */
export async function start(command, args, options = {}) {
  const child = spawn(command, args, { detached: true, stdio: ["ignore", "pipe", "pipe"], ...options });
  child.output = "";
  child.stderr?.setEncoding("utf8").on("data", (text) => (child.output = (child.output + text).slice(-10_000)));
  await once(child, "spawn");
  adopt(child);
  return child;
}

/** Has a program that leads a process group end with the test. */
export function adopt(child) {
  running.add(child);
  child.once("exit", () => running.delete(child));
}

/** Ends a program and the processes that it has started. */
export async function stop(child, signal = "SIGTERM") {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = once(child, "exit");
    signalGroup(child, signal);
    const killing = setTimeout(() => signalGroup(child, "SIGKILL"), 5000);
    await ended;
    clearTimeout(killing);
  }
  signalGroup(child, "SIGKILL"); // what is left of its group
}

/** Makes a folder that is removed at the end of the test file, after its programs have ended. */
export function temporaryFolder(name) {
  const folder = mkdtempSync(join(tmpdir(), `ginsse-${name}-`));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }));
  return folder;
}

/** The path of the first of these programs that is installed, or undefined. */
export function find(...names) {
  const folders = (process.env.PATH ?? "").split(delimiter).concat("/usr/sbin");
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path));
}

/**
 * A port that was free a moment ago, for programs that cannot choose one. It is below those that systems
 * give to connections, so that none takes it meanwhile.
 */
export async function freePort() {
  for (let i = 0; i < 1000; i++) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = createServer().listen(port, "127.0.0.1");
    try {
      await once(server, "listening");
    } catch {
      continue; // it is taken
    }
    server.close();
    await once(server, "close");
    return port;
  }
  throw new Error("no port is free");
}

/** Calls check until it returns something, and returns that. */
export async function until(check, what, timeout = 20_000) {
  const end = Date.now() + timeout;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (Date.now() > end) throw new Error(`timed out: ${what}`);
    await delay(20);
  }
}

/**
 * Checks a promise about time: one of up to three attempts takes less than `limit` ms. `attempt` gets
 * its number, from 0, and returns its milliseconds. More than one is for machines that do other work.
 */
export async function fastest(t, limit, what, attempt) {
  const all = [];
  while (all.length < 3) {
    const took = await attempt(all.length);
    all.push(took);
    t.diagnostic(`${what}: ${took} ms`);
    if (took < limit) return;
  }
  throw new Error(`${what}: ${all.join(", ")} ms; the limit is ${limit}`);
}

/** The fields of /proc/PID/stat from the third on, or undefined if the process has ended. */
function statOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

/** The processor time of each process below root, in clock ticks. */
function processorTimes(root) {
  const stats = new Map();
  for (const name of readdirSync("/proc")) {
    const stat = /^\d+$/.test(name) && statOf(name);
    if (stat) stats.set(Number(name), { parent: Number(stat[1]), time: Number(stat[11]) + Number(stat[12]) });
  }
  const times = new Map();
  for (const [pid, { time }] of stats) {
    for (let above = stats.get(pid)?.parent; above; above = stats.get(above)?.parent) {
      if (above === root) times.set(pid, time);
    }
  }
  return times;
}

/**
 * Which process below root works while `work` runs. Others work too, and the machine may be busy, so
 * what each spends beyond an equal time without `work` is added up until one is far ahead.
 */
export async function busiest(root, work) {
  const more = new Map(); // clock ticks by process
  for (let round = 1; round <= 60; round++) {
    const start = performance.now();
    const first = processorTimes(root);
    await work();
    const second = processorTimes(root);
    await delay(performance.now() - start);
    for (const [pid, time] of processorTimes(root)) {
      if (!first.has(pid)) continue;
      const worked = second.get(pid) - first.get(pid);
      const rested = time - second.get(pid);
      more.set(pid, (more.get(pid) ?? 0) + worked - rested);
    }
    const [[most, pid], [next]] = [...[...more].map(([pid, ticks]) => [ticks, pid]).sort(([a], [b]) => b - a), [0], [0]];
    if (round > 1 && most > 2 * Math.max(next, 0) + 5 && first.has(pid)) return pid;
  }
  throw new Error("no process does all of the work");
}

/** Whether a process runs. */
export function isRunning(pid) {
  const stat = statOf(pid);
  return stat !== undefined && stat[0] !== "Z";
}
