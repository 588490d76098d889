import { createEventSource } from "eventsource-client";
import { call, event, store, stored, token } from "./seen.js";

window.start = ({ user, own, withToken, post }) => {
  let current = "none";
  const source = createEventSource({
    url: "/events",
    onMessage(e) {
      if (e.event === "n") event(JSON.parse(e.data));
      else if (e.event === "sse.open") call("open");
      else if (e.event === "sse.gap") call("an event of type sse.gap");
      if (own && e.id) store(e.id);
    },
    onConnect: () => call("onConnect"),
    onDisconnect: () => call("onDisconnect"),
    ...(own && {
      initialLastEventId: stored() || undefined,
      async fetch(url, init) {
        const response = await fetch(url, init);
        if (response.status === 401) {
          call("status 401");
          source.close();
        }
        return response;
      },
    }),
    ...(withToken && {
      async fetch(url, init) {
        const send = () => fetch(url, { ...init, headers: { ...init.headers, Authorization: `Bearer ${current}` } });
        const response = await send();
        if (response.status !== 401) return response;
        current = await token(user);
        return send();
      },
    }),
    ...(post && { method: "POST", body: "question" }),
  });
};
