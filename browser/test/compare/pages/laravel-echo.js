import Echo from "laravel-echo";
import Pusher from "pusher-js";
import { call, event } from "./seen.js";

window.start = ({ user, quick, withToken }) => {
  const echo = new Echo({
    broadcaster: "reverb",
    Pusher,
    key: "key",
    wsHost: location.hostname,
    wsPort: location.port,
    forceTLS: false,
    enabledTransports: ["ws"],
    ...(withToken && { bearerToken: "token" }),
    ...(quick && { activityTimeout: 300, pongTimeout: 450 }),
  });
  const channel = echo.private(user);
  channel.listen(".n", event);
  channel.subscribed(() => call("open"));
  channel.error((error) => call("error", error.status ?? JSON.stringify(error)));
  echo.connector.pusher.connection.bind("state_change", ({ current }) => call(current));
};
