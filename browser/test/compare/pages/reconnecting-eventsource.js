import ReconnectingEventSource from "reconnecting-eventsource";
import { call, event, store, stored } from "./seen.js";

window.start = ({ own }) => {
  const source = new ReconnectingEventSource("/events", own ? { lastEventId: stored() } : undefined);
  source.addEventListener("n", (e) => {
    event(JSON.parse(e.data));
    if (own) store(e.lastEventId);
  });
  source.addEventListener("sse.gap", () => call("an event of type sse.gap"));
  source.onopen = () => call("open");
  source.onerror = () => call("error", source.readyState === EventSource.CLOSED ? "closed" : "connecting");
};
