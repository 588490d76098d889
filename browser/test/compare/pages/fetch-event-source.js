import { fetchEventSource } from "@microsoft/fetch-event-source";
import { call, event, store, stored, token } from "./seen.js";

window.start = ({ user, own, withToken, post }) => {
  let current = "none";
  const withAuthorization = async (url, init) => {
    const send = () => fetch(url, { ...init, headers: { ...init.headers, Authorization: `Bearer ${current}` } });
    const response = await send();
    if (response.status !== 401) return response;
    current = await token(user);
    return send();
  };
  fetchEventSource("/events", {
    onmessage(e) {
      if (e.event === "n") event(JSON.parse(e.data));
      else if (e.event === "sse.open") call("open");
      else if (e.event === "sse.gap") call("an event of type sse.gap");
      if (own && e.id) store(e.id);
    },
    onerror: (error) => call("error", error.message),
    ...(own && {
      headers: stored() ? { "last-event-id": stored() } : {},
      openWhenHidden: true,
      async onopen({ ok, status }) {
        if (!ok) throw new Error(`status ${status}`);
      },
      onclose() {
        throw new Error("closed"); // or it would not come back
      },
      onerror(error) {
        call("error", error.message);
        if (error.message === "status 401") throw error; // or it would try for ever
      },
    }),
    ...(withToken && { fetch: withAuthorization }),
    ...(post && { method: "POST", body: "question" }),
  }).then(() => call("ended"), (error) => call("ended by", error.message));
};
