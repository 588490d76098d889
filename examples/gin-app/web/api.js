// Requests to the server. A response has the true state. An event of the stream brings something
// new, or says that it is time to ask again.
//
// Each request names the user that the page shows. If the user changes, the responses to earlier
// requests are discarded, so a page never shows a response to another user.

export class APIError extends Error {
  constructor(status, code, message) {
    super(message[0].toUpperCase() + message.slice(1).replace(/[^.]$/, "$&."));
    Object.assign(this, { status, code });
  }
}

// SessionOver is thrown by a request if the user of the page changed while it was running.
// Callers ignore it.
export class SessionOver extends Error {}

const REQUEST_TIMEOUT = 30_000;

let session = new AbortController();
let user = ""; // ID of the user that the page shows
let sessionLost = () => {};
let answered = () => {};

export function beginSession(userID) {
  endSession();
  user = userID;
}

export function endSession() {
  user = "";
  session.abort(new SessionOver());
  session = new AbortController();
}

// onSessionLost sets the function to call, with the error code, when a response says that the
// session has ended or is another user's. Another tab with the same cookie can cause either.
export const onSessionLost = (call) => { sessionLost = call; };

// onAnswer sets the function to call after each response of the server.
export const onAnswer = (call) => { answered = call; };

export async function api(method, path, body, headers = {}) {
  const { signal } = session;
  if (body) headers = { "Content-Type": "application/json", ...headers };
  if (user) headers = { "X-User": user, ...headers };
  const offline = () => {
    signal.throwIfAborted();
    throw new APIError(0, "offline", "The server cannot be reached. Try again in a moment.");
  };
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body),
    signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT)]) }).catch(offline);
  answered();
  if (response.status === 204) return null;
  const answer = await response.json().catch(response.ok ? offline : () => null); // a partial response counts as none
  signal.throwIfAborted();
  if (response.ok) return answer;
  const { code, message } = answer?.error ?? { code: "unknown", message: `The server answered with status ${response.status}.` };
  if (code === "other_user" || (response.status === 401 && code !== "wrong_credentials")) {
    sessionLost(code);
    signal.throwIfAborted();
  }
  throw new APIError(response.status, code, message);
}
