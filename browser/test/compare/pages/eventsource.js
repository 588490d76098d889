import { call, event, store, stored } from "./seen.js";

window.start = ({ own }) => {
  const source = new EventSource(own && stored() ? `/events?lastEventId=${stored()}` : "/events");
  source.addEventListener("n", (e) => {
    event(JSON.parse(e.data));
    if (own) store(e.lastEventId);
  });
  source.addEventListener("sse.gap", () => call("an event of type sse.gap"));
  source.onopen = () => call("open");
  source.onerror = () => call("error", source.readyState === EventSource.CLOSED ? "closed" : "connecting");
};
