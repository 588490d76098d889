// Checked by `npm run typecheck`, and never run: the types of the hooks.

import { ref, shallowRef } from "vue";
import { connect } from "../src/ginsse.js";
import * as react from "../src/react.js";
import type { State, Stream } from "../src/types.js";
import * as vue from "../src/vue.js";

interface Events {
  comment: { text: string };
  like: number;
}
declare const stream: Stream<Events>;
declare const maybe: Stream<Events> | null | undefined;

react.useEvent(stream, "comment", ({ text }, event) => {
  text satisfies string;
  event.type satisfies "comment";
  event.data.text satisfies string;
});
react.useEvent(maybe, "like", (likes) => likes satisfies number);
react.useEvent(connect<{ done: boolean }>("/events"), "done", async (done) => done satisfies boolean);
react.useEvent(connect("/events"), "anything", (data) => data.whatever);
react.useEvent(stream, "sse.present", ({ count }) => count satisfies number);
// @ts-expect-error: there is no such event
react.useEvent(stream, "coment", () => {});
// @ts-expect-error: the data is a number
react.useEvent(stream, "like", (likes: string) => likes);
react.useStale(stream, (reason) => reason satisfies string);
react.useTopics(maybe, ["a"]) satisfies boolean;
react.useTopics(stream, new Set(["a"]));
// @ts-expect-error: topics are strings
react.useTopics(stream, [7]);
react.useStream(stream).state satisfies State;
react.useStream(maybe).status satisfies number | undefined;
// @ts-expect-error: it cannot be changed
react.useStream(stream).reason = "";

vue.useEvent(stream, "comment", ({ text }, event) => {
  text satisfies string;
  event.type satisfies "comment";
});
vue.useEvent(shallowRef(maybe), ref("like" as const), (likes) => likes satisfies number);
vue.useEvent(() => maybe, () => "like" as const, (likes) => likes satisfies number);
vue.useEvent(() => maybe, "sse.leave", ({ user }) => user satisfies string);
vue.useEvent(connect("/events"), "anything", (data) => data.whatever) satisfies () => void;
// @ts-expect-error: there is no such event
vue.useEvent(stream, "coment", () => {});
// @ts-expect-error: the data is a number
vue.useEvent(stream, "like", (likes: string) => likes);
vue.useStale(() => maybe, (reason) => reason satisfies string);
vue.useTopics(stream, ["a"]).value satisfies boolean;
vue.useTopics(shallowRef(stream), ref(["a"]));
vue.useTopics(() => stream, () => new Set(["a"]));
// @ts-expect-error: topics are strings
vue.useTopics(stream, [7]);
vue.useStream(stream).state.value satisfies State;
vue.useStream(shallowRef(maybe)).status.value satisfies number | undefined;
// @ts-expect-error: it cannot be changed
vue.useStream(stream).reason.value = "";
// @ts-expect-error: it cannot be changed
vue.useTopics(stream, ["a"]).value = true;
