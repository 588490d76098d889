import { Centrifuge } from "centrifuge";
import { call, event, store, stored, token } from "./seen.js";

window.start = ({ user, own, withToken, sse, quick }) => {
  const endpoint = sse
    ? [{ transport: "sse", endpoint: `${location.origin}/connection/sse` }]
    : `ws://${location.host}/connection/websocket`;
  const centrifuge = new Centrifuge(endpoint, {
    ...(sse && { emulationEndpoint: `${location.origin}/emulation` }),
    ...(withToken ? { getToken: () => token(user) } : { token: user }),
    ...(quick && { maxServerPingDelay: 1500 }),
  });
  const since = own && stored() ? JSON.parse(stored()) : undefined;
  const subscription = centrifuge.newSubscription(user, { since });
  subscription.on("subscribed", ({ wasRecovering, recovered, streamPosition }) => {
    call("open", wasRecovering ? (recovered ? "recovered" : "not recovered") : "new");
    if (own) store(JSON.stringify(streamPosition));
  });
  subscription.on("publication", ({ data, offset }) => {
    event(data);
    if (own) store(JSON.stringify({ ...JSON.parse(stored()), offset }));
  });
  subscription.on("error", ({ error }) => call("subscription", error.code, error.message));
  centrifuge.on("error", ({ error }) => call("error", error.code, error.message));
  centrifuge.on("connecting", ({ code, reason }) => call("connecting", code, reason));
  centrifuge.on("disconnected", ({ code, reason }) => call("disconnected", code, reason));
  subscription.subscribe();
  centrifuge.connect();
};
