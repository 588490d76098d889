import { control } from "../src/control.js";
import { eventSource } from "../src/eventsource.js";
// What the types allow and refuse. `npm run typecheck` compiles this file; nothing runs it.

import { connect, type AnyEvent, type ServerEvent, type State, type Stream } from "../src/ginsse.js";
import { newFakeServer } from "../src/testing.js";

/** Compiles if the types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => {};

type Alias = { comment: { text: string }; badge: number; signal: null };
interface Interface {
  comment: { text: string };
  badge: number;
  signal: null;
}

function typed(stream: Stream<Alias>) {
  stream.on("comment", (comment, event) => {
    same<typeof comment, { text: string }>(true);
    same<typeof event, ServerEvent<{ text: string }, "comment">>(true);
    // @ts-expect-error: there is no such field
    comment.texts;
    // @ts-expect-error: events are shared
    event.data = comment;
  });
  stream.on("badge", (badge) => same<typeof badge, number>(true));
  // @ts-expect-error: there is no such event
  stream.on("coment", () => {});
  // @ts-expect-error: the data is a number
  stream.on("badge", (badge: string) => badge);
  stream.once("badge", (badge) => same<typeof badge, number>(true));
  // @ts-expect-error: there is no such event
  stream.once("coment", () => {});
  const off = stream.on("signal", () => {}, { once: true, signal: new AbortController().signal });
  same<typeof off, () => void>(true);
  stream.onState((state, { reason, status }) => {
    same<typeof state, State>(true);
    same<typeof reason, string>(true);
    same<typeof status, number | undefined>(true);
  });
  // @ts-expect-error: the state is the stream's
  stream.state = "live";
}

async function loops(stream: Stream<Alias>) {
  for await (const event of stream) {
    same<typeof event, AnyEvent<Alias>>(true);
    if (event.type === "comment") event.data.text.length;
    else if (event.type === "badge") event.data.toFixed();
    else same<typeof event.type, "signal">(true);
    // @ts-expect-error: there is no such event
    if (event.type === "coment") break;
  }
  for await (const event of stream.events({ signal: new AbortController().signal })) same<typeof event, AnyEvent<Alias>>(true);
}

function kit(stream: Stream<Interface>) {
  stream.on("sse.topics", ({ topics, added }) => (same<typeof topics, string[]>(true), same<typeof added, string[] | undefined>(true)));
  stream.once("sse.present", ({ users, count }) => (same<(typeof users)[0]["user"], string>(true), same<typeof count, number>(true)));
  stream.on("sse.join", ({ topic, user }) => (same<typeof topic, string>(true), same<typeof user, string>(true)));
  // @ts-expect-error: who leaves has no value any more
  stream.on("sse.leave", ({ value }) => value);
  stream.on("sse.open", ({ resumed }) => same<typeof resumed, boolean>(true));
  // @ts-expect-error: it is about the connection
  stream.on("sse.heartbeat", () => {});
}

void kit;
typed(connect<Alias>("/events"));
typed(connect<Interface>(new URL("https://example.com/events"))); // the same map
void loops(connect<Interface>("/events"));

// Without a map, all types are allowed.
const untyped = connect("/events");
untyped.on("any", (data) => data.whatever);
untyped.once("other", (data, { type }) => (same<typeof type, "other">(true), data.whatever));

// Functions that take any stream.
const any = (stream: Stream<any>) => stream.close();
any(connect<Alias>("/events"));
any(connect<Interface>("/events"));
any(untyped);

connect("/events", {
  topics: new Set(["a"]),
  headers: async () => ({ Authorization: "Bearer" }),
  auth: async () => false,
  share: false,
  transport: eventSource(),
  control: control("/events/control"),
});
control(new URL("https://example.com/events/control")).renew();
// @ts-expect-error: there is no such option
connect("/events", { topic: "a" });
// @ts-expect-error: there is no such transport
connect("/events", { transport: "websocket" });
// @ts-expect-error: topics are text
connect("/events", { topics: [7] });

// The fake server knows the map too.
const server = newFakeServer<Interface>({ heartbeat: 0 });
connect<Interface>("/events", { fetch: server.fetch });
void server.push("comment", { text: "" }, "topic");
// @ts-expect-error: there is no such event
void server.push("coment", { text: "" });
// @ts-expect-error: the data is a number
void server.push("badge", "7");
void newFakeServer().push("any", { whatever: 1 });
