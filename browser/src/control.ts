// Changes of an open stream by requests: its topics, its state, its expiry.

import type { Link, TopicChange } from "./link.js";
import { retryAfter } from "./transport.js";
import type { Control, Options } from "./types.js";

export type { Control } from "./types.js";

// All times are in milliseconds.
const FIRST_DELAY = 1000; // before another attempt; it doubles,
const LONGEST_DELAY = 30_000; // up to this
const MOMENT = 20; // what is asked for within this time is one request
const STATE_TIME = 10_000; // how long a state that was asked for may take

/**
 * Returns an option of `connect` with which topics change, and the state is sent, without another
 * connection: `connect("/events", { control: control("/events/control") })`. Each stream needs one of
 * its own. At the URL the server must have the kit's ControlHandler.
 */
export function control(url: string | URL): Control {
  let options: Options;
  let stream = ""; // the ID of the open stream
  let over = new AbortController(); // aborted when another stream, or none, is open
  let busy = false; // one request at a time
  let notBefore = 0; // the end of a wait
  let renewing = false;

  // The state:
  let asking = true; // the page has none yet, and the server may not send it by itself
  let askedFor = ""; // the stream that was asked last
  let askedAt = 0;

  // The topics of the open stream, in the tab that leads:
  let asked: Set<string> | undefined; // by the URL or by requests, and not refused
  let wanted: string[] = [];
  let changed = false; // wanted was set since the last request
  let failed = false; // the server takes no request for topics: they go into a URL
  const pending = new Set<string>(); // asked for, and not in sse.topics yet
  const removing = new Set<string>(); // taken back, and not in sse.topics yet
  const unsureAdds = new Set<string>(); // of requests that failed: they may have had an effect
  const unsureRemoves = new Set<string>();
  let reading: string[] = []; // of the stream that was open last
  let settle = (_: TopicChange) => {};
  let retry = () => {};

  function setStream(id: string) {
    if (id === stream) return;
    stream = id;
    over.abort();
    over = new AbortController();
    renewing = changed = failed = false; // all is in the request for the next stream
    asked = undefined;
    for (const topics of [pending, removing, unsureAdds, unsureRemoves]) topics.clear();
  }

  /** Sends what there is to ask for, soon. */
  const send = () => setTimeout(run, MOMENT);

  async function run() {
    if (busy) return;
    busy = true;
    let failures = 0; // in a row
    let renewed = false; // the credential, since a request was accepted
    while (stream && (changed || asking || renewing)) {
      const { signal } = over;
      const wait = notBefore - Date.now();
      if (wait > 0) {
        await sleep(wait, signal);
        continue;
      }
      const topics = changed && asked;
      // A topic that the application has granted needs no request, and stays if the page takes it back.
      const add = topics ? wanted.filter((topic) => !topics.has(topic) && (!reading.includes(topic) || unsureAdds.has(topic))) : [];
      const remove = topics ? [...new Set([...[...topics, ...unsureAdds].filter((topic) => !wanted.includes(topic)), ...unsureRemoves])] : [];
      const state = asking;
      const renew = renewing;
      changed = renewing = false;
      if (!add[0] && !remove[0] && !state && !renew) break;
      for (const topic of remove) {
        forget(topic);
        removing.add(topic);
      }
      for (const topic of add) {
        topics && topics.add(topic);
        pending.add(topic);
      }
      if (remove[0]) settle({ removed: remove }); // a tab that adds it again waits for its return
      const [status, refused, after] = await post({ stream, add, remove, ...(state && { state }) }, signal);
      if (signal.aborted) continue; // the URL of the next stream has the topics
      unsureAdds.clear();
      unsureRemoves.clear();
      if (status === 202) {
        failures = 0;
        renewed = false;
        if (state) {
          asking = false;
          askedFor = stream;
          askedAt = Date.now();
        }
        refused.forEach(forget);
        if (refused[0]) settle({ refused });
        continue;
      }
      let again: unknown = !status || status === 429 || status >= 500;
      let delay = after + Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** failures++) * (0.5 + Math.random() / 2);
      if (status === 401 && options.auth && !renewed) {
        try {
          again = (await options.auth()) !== false;
          renewed = true;
          delay = 0;
        } catch (error) {
          console.error(error);
          again = true;
        }
        if (signal.aborted) continue;
      }
      for (const topic of add) {
        forget(topic);
        unsureAdds.add(topic);
      }
      remove.forEach((topic) => unsureRemoves.add(topic));
      if (again) {
        notBefore = Date.now() + delay;
        changed ||= !!topics;
        renewing ||= renew;
        continue;
      }
      console.error(new Error(`ginsse: ${url} answers ${status}`));
      asking = false;
      failed = !!(add[0] || remove[0]);
      if (failed) retry();
    }
    busy = false;
  }

  /** Forgets that a topic was asked for. */
  function forget(topic: string) {
    asked?.delete(topic);
    pending.delete(topic);
  }

  async function post(body: object, signal: AbortSignal): Promise<[status: number, refused: string[], after: number]> {
    try {
      const headers = new Headers(await options.headers?.());
      headers.set("Content-Type", "application/json");
      const { credentials } = options as { credentials: RequestCredentials }; // or undefined, which fetch takes
      const target = new URL(url, globalThis.document?.baseURI ?? "http://localhost");
      const response = await (options.fetch ?? fetch)(target.href, { method: "POST", headers, body: JSON.stringify(body), signal, credentials, cache: "no-store" });
      const { status } = response;
      const { refused = [] } = status === 202 ? await response.json() : {};
      if (status !== 202) response.body?.cancel().catch(() => {});
      return [status, refused, retryAfter(response.headers.get("retry-after") ?? "")];
    } catch {
      return [0, [], 0];
    }
  }

  const link: Link = {
    begin(given, signal) {
      options = given;
      signal.addEventListener("abort", () => setStream(""));
    },

    received(messages) {
      for (const [kind, first, second] of messages) {
        if (kind === "state" && first !== "live") setStream("");
        else if (kind === "open") {
          setStream(first);
          reading = second as string[];
          // A stream that has ended may not have sent the whole state.
          if (askedFor && askedFor !== first) {
            if (Date.now() - askedAt < STATE_TIME) asking = true;
            askedFor = "";
          }
        } else if (kind === "stale") asking = second === "?";
      }
      if (stream && asking) send();
    },

    update(data, topics) {
      const { stream: id = "", topics: all = [], added = [], removed = [], refused = [] } = data;
      if (topics) {
        setStream(id);
        const [read, unread] = [true, false].map((is) => topics.filter((topic) => all.includes(topic) === is));
        asked = new Set(read);
        data.removed = data.refused = unread!;
        // The server sends no state of topics that are new to a stream that is resumed.
        if (data.resumed && read!.some((topic) => !reading.includes(topic))) asking = true;
        return;
      }
      // The stream may read a topic already. That counts, unless it is about to go.
      data.added = [...added, ...all.filter((topic) => pending.has(topic) && !removing.has(topic))];
      data.refused = refused.filter((topic) => !removing.has(topic)); // else the page took it back
      for (const topic of [...removed, ...data.refused]) if (!removing.has(topic)) forget(topic);
      for (const topic of data.added) pending.delete(topic);
      for (const topic of [...added, ...removed, ...refused]) removing.delete(topic);
    },

    want(topics, to, change) {
      if (!asked || failed) return failed || undefined;
      wanted = topics;
      settle = to;
      retry = change;
      changed = true;
      void run();
      return false;
    },

    ask() {
      asking = true;
      if (stream) send();
    },

    renew() {
      renewing = !!stream;
      send();
    },
  };
  return link;
}

/** Waits for a time, or until the signal is aborted. */
const sleep = (time: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, time);
    signal.addEventListener("abort", done);
  });
