import { connect } from "ginsse";
import { call, event, token } from "./seen.js";

window.start = ({ user, withToken }) => {
  let current = "none";
  const stream = connect("/events", withToken && {
    identity: user,
    headers: () => ({ Authorization: `Bearer ${current}` }),
    auth: async () => (current = await token(user)),
  });
  stream.on("n", event);
  stream.onStale((reason) => call("stale", reason));
  stream.onState((state, { reason, status }) => call(state === "live" ? "open" : state, reason, status ?? ""));
};
