// Authentication: headers, auth, and refusals.

import assert from "node:assert/strict";
import { bench, first } from "./helpers.js";

const hour = 3_600_000;

/** A promise that the test settles. */
function deferred<T>() {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => (resolve = done));
  return { promise, resolve };
}

for (const status of [401, 403]) {
  bench(`${status} without auth is signed-out, and final`, {}, async ({ clock, page, server, open }) => {
    server.refuse({ status });
    const { stream, states } = open();
    await clock.advance(hour);
    page.window.fire("online");
    await clock.advance(hour);
    assert.deepEqual(states, ["connecting", `signed-out refused ${status}`]);
    assert.equal(server.requests.length, 1);
    stream.reconnect(); // the person has signed in again
    await server.connected();
    assert.deepEqual(states.slice(2), ["connecting", "live"]);
  });

  bench(`${status} asks auth once, then one more attempt is made`, {}, async ({ clock, server, open }) => {
    let asked = 0;
    server.refuse({ status });
    const { states } = open({ auth: async () => void asked++ });
    await clock.advance(60_000);
    assert.equal(asked, 1);
    assert.deepEqual(states, ["connecting", "live"]);
    assert.equal(server.requests.length, 2);
  });

  bench(`${status} again after auth is signed-out`, {}, async ({ clock, server, open }) => {
    let asked = 0;
    server.refuse({ status, times: Infinity });
    const { states } = open({ auth: () => ++asked });
    await clock.advance(hour);
    assert.equal(asked, 1);
    assert.deepEqual(states, ["connecting", `signed-out refused ${status}`]);
    assert.equal(server.requests.length, 2);
  });

  for (const [name, result] of [["false", false], ["a promise of false", Promise.resolve(false)]] as const) {
    bench(`${status} is signed-out if auth returns ${name}`, {}, async ({ clock, server, open }) => {
      server.refuse({ status });
      const { states } = open({ auth: () => result });
      await clock.advance(hour);
      assert.deepEqual(states, ["connecting", `signed-out refused ${status}`]);
      assert.equal(server.requests.length, 1);
    });
  }
}

bench("auth is asked anew for each connection", {}, async ({ clock, server, open }) => {
  let asked = 0;
  const { states } = open({ auth: () => void asked++ });
  for (let i = 1; i <= 3; i++) {
    await server.connected();
    server.refuse({ status: 401 });
    server.drop();
    await clock.advance(1000);
    assert.equal(asked, i);
  }
  assert.equal(states.at(-1), "live");
});

bench("a failure between auth and the connection does not ask auth again", {}, async ({ clock, server, open }) => {
  let asked = 0;
  const statuses = [401, 503, 401];
  const { states } = open({
    auth: () => void asked++,
    fetch: (...args) => (statuses.length ? Promise.resolve(new Response("", { status: statuses.shift()! })) : server.fetch(...args)),
  });
  await clock.advance(60_000);
  assert.equal(asked, 1);
  assert.equal(states.at(-1), "signed-out refused 401");
});

for (const [name, fail] of [
  ["throws", () => { throw new Error("no network"); }],
  ["rejects", () => Promise.reject(new Error("no network"))],
] as const) {
  bench(`if auth ${name}, it is called again after a while`, {}, async ({ clock, server, open, errors }) => {
    let asked = 0;
    server.refuse({ status: 401, times: 2 });
    const { states } = open({ auth: () => (++asked === 1 ? fail() : undefined) });
    await clock.advance(400);
    assert.equal(asked, 1);
    assert.deepEqual(states, ["connecting", "reconnecting auth"]);
    assert.deepEqual(errors.map(String), ["Error: no network"]);
    await clock.advance(600);
    assert.equal(asked, 2);
    assert.equal(states.at(-1), "live");
  });
}

bench("while auth hangs no attempt is made, which is reported; reconnect() makes one", {}, async ({ clock, page, server, open }) => {
  server.refuse({ status: 401 });
  const { stream, states } = open({ auth: () => new Promise(() => {}) });
  await clock.advance(hour);
  page.window.fire("online");
  page.document.fire("visibilitychange");
  await clock.sleep(hour);
  assert.equal(server.requests.length, 1);
  assert.deepEqual(states, ["connecting", "reconnecting refused 401"]);
  stream.reconnect();
  await clock.advance(0);
  assert.equal(states.at(-1), "live");
});

bench("an answer of auth after close() is ignored", {}, async ({ clock, server, open }) => {
  const { promise, resolve } = deferred<void>();
  server.refuse({ status: 401 });
  const { stream, states } = open({ auth: () => promise });
  await clock.advance(0);
  stream.close();
  resolve();
  await clock.advance(hour);
  assert.equal(server.requests.length, 1);
  assert.equal(states.at(-1), "closed closed");
});

bench("a false of auth after reconnect() is ignored", {}, async ({ clock, server, open }) => {
  const { promise, resolve } = deferred<boolean>();
  server.refuse({ status: 401 });
  const { stream, states } = open({ auth: () => promise });
  await clock.advance(0);
  stream.reconnect();
  await clock.advance(0);
  resolve(false);
  await clock.advance(1000);
  assert.equal(states.at(-1), "live");
});

bench("when the credential has expired, auth renews it before the next attempt", {}, async ({ clock, server, open }) => {
  const { promise, resolve } = deferred<void>();
  let asked = 0;
  const { states, events } = open({ auth: () => (asked++, promise) });
  await server.connected();
  await server.reconnect({ reason: "expired", retry: 500 });
  await clock.advance(1000);
  assert.equal(asked, 1);
  assert.equal(server.requests.length, 1);
  await server.push("comment", 1);
  resolve();
  await clock.advance(1);
  assert.equal(server.requests.length, 2);
  assert.deepEqual(events, ["comment 1"]);
  assert.deepEqual(states, ["connecting", "live"]);
});

bench("when the credential has expired and is renewed, the server's time is waited for", {}, async ({ clock, server, open }) => {
  open({ auth: () => true });
  await server.connected();
  await server.reconnect({ reason: "expired", retry: 5000 });
  await clock.advance(4999);
  assert.equal(server.requests.length, 1);
  await clock.advance(1);
  assert.equal(server.requests.length, 2);
});

bench("when the renewed credential is refused, the stream is signed out", {}, async ({ clock, server, open }) => {
  let asked = 0;
  const { states } = open({ auth: () => ++asked });
  await server.connected();
  server.refuse({ status: 401, times: Infinity });
  await server.reconnect({ reason: "expired" });
  await clock.advance(hour);
  assert.equal(asked, 1);
  assert.deepEqual(states, ["connecting", "live", "signed-out refused 401"]);
});

bench("when the credential has expired and auth returns false, the stream is signed out", {}, async ({ clock, server, open }) => {
  const { states } = open({ auth: () => false });
  await server.connected();
  await server.reconnect({ reason: "expired" });
  await clock.advance(hour);
  assert.deepEqual(states, ["connecting", "live", "signed-out expired"]);
});

bench("an expired credential without auth is an attempt with new headers", {}, async ({ clock, server, open }) => {
  let token = 0;
  open({ headers: () => ({ Authorization: `Bearer ${++token}` }) });
  await server.connected();
  await server.reconnect({ reason: "expired" });
  await clock.advance(1000);
  assert.deepEqual(server.requests.map(({ headers }) => headers.get("Authorization")), ["Bearer 1", "Bearer 2"]);
});

bench("headers are made for each attempt, and never in the address", {}, async ({ clock, server, open }) => {
  let token = 0;
  const { states } = open({
    headers: async () => {
      await new Promise<void>((resolve) => setTimeout(resolve, 100));
      return new Headers({ Authorization: `Bearer secret-${++token}` });
    },
  });
  await clock.advance(100);
  server.refuse({ status: 503 });
  server.drop();
  await clock.advance(10_000);
  assert.deepEqual(server.requests.map(({ headers }) => headers.get("Authorization")), ["Bearer secret-1", "Bearer secret-2", "Bearer secret-3"]);
  assert.ok(server.requests.every(({ url, headers }) => !url.href.includes("secret") && headers.get("Accept") === "text/event-stream"));
  assert.equal(states.at(-1), "live");
});

for (const [name, fail] of [
  ["throws", () => { throw new Error("no token"); }],
  ["rejects", () => Promise.reject(new Error("no token"))],
  ["returns an invalid header", () => ({ "no header": "1" })],
] as const) {
  bench(`an attempt whose headers() ${name} has failed`, {}, async ({ clock, server, open, errors }) => {
    let asked = 0;
    const { states } = open({ headers: () => (++asked === 1 ? fail() : {}) });
    await clock.advance(400);
    assert.deepEqual(states, ["connecting", "reconnecting headers"]);
    assert.equal(errors.length, 1);
    assert.equal(server.requests.length, 0);
    await clock.advance(600);
    assert.equal(states.at(-1), "live");
  });
}

bench("an attempt whose headers() hangs is given up, and its headers are not used", {}, async ({ clock, server, open }) => {
  const { promise, resolve } = deferred<HeadersInit>();
  let asked = 0;
  const { states } = open({ headers: () => (++asked === 1 ? promise : { "X-Attempt": "2" }) });
  await clock.advance(16_000);
  resolve({ "X-Attempt": "1" });
  await clock.advance(1000);
  assert.deepEqual(states, ["connecting", "reconnecting timeout", "live"]);
  assert.deepEqual(server.requests.map(({ headers }) => headers.get("X-Attempt")), ["2"]);
});

for (const call of ["headers", "auth"] as const) {
  bench(`a failure of ${call}() that comes late changes nothing`, {}, async ({ clock, server, open, errors }) => {
    const late = deferred<never>();
    let asked = 0;
    if (call === "auth") server.refuse({ status: 401 });
    const { stream, states } = open({ [call]: () => (asked++ ? {} : late.promise.then(() => { throw new Error("late"); })) });
    await clock.advance(100);
    stream.reconnect();
    await server.connected();
    late.resolve(undefined as never);
    await clock.advance(1000);
    assert.deepEqual(errors.map(String), ["Error: late"]);
    assert.deepEqual(states, ["connecting", "live"]);
    assert.equal(server.connections, 1);
  });
}

bench("a stream that is closed while headers() runs makes no request", {}, async ({ clock, server, open }) => {
  const { promise, resolve } = deferred<HeadersInit>();
  const { stream } = open({ headers: () => promise });
  await clock.advance(0);
  stream.close();
  resolve({});
  await clock.advance(hour);
  assert.equal(server.requests.length, 0);
});

bench("credentials go to fetch as the page says", {}, async ({ clock, server, open }) => {
  const seen: unknown[] = [];
  for (const credentials of [undefined, "include", "omit"] as const) {
    open({ ...(credentials && { credentials }), fetch: first((_, init) => (seen.push([init.credentials, init.cache]), new Response(null, { status: 204 })), server.fetch) });
    await clock.advance(0);
  }
  assert.deepEqual(seen, [[undefined, "no-store"], ["include", "no-store"], ["omit", "no-store"]]);
});

bench("a redirect to a page to sign in is signed-out", {}, async ({ clock, server, open }) => {
  server.refuse({ status: 302 });
  const { states } = open();
  await clock.advance(hour);
  assert.deepEqual(states, ["connecting", "signed-out redirected 200"]);
});

bench("a redirect to a page to sign in asks auth", {}, async ({ clock, server, open }) => {
  let asked = 0;
  server.refuse({ status: 302 });
  const { states } = open({ auth: () => void asked++ });
  await clock.advance(1000);
  assert.equal(asked, 1);
  assert.equal(states.at(-1), "live");
});

for (const [status, want] of [[503, "reconnecting refused 503"], [404, "closed refused 404"]] as const) {
  bench(`${status} after a redirect, such as to HTTPS, does not sign out`, {}, async ({ clock, server, open }) => {
    const response = Object.defineProperty(new Response("", { status }), "redirected", { value: true });
    const { states } = open({ fetch: first(() => response, server.fetch) });
    await clock.advance(1);
    assert.deepEqual(states, ["connecting", want]);
  });
}
