// Requests to the server. Its answers say what is true; the event stream says when
// to look, or brings what is new.
//
// A request is made as the person that the page shows, and its answer counts only
// while the page shows them: a slow answer to one person is never shown to another.

export class APIError extends Error {
  constructor(status, code, message) {
    super(message[0].toUpperCase() + message.slice(1).replace(/[^.]$/, "$&."));
    Object.assign(this, { status, code });
  }
}

// A SessionOver is thrown for a request whose person has left meanwhile. There is
// nobody to tell.
export class SessionOver extends Error {}

const PATIENCE = 30_000;

let session = new AbortController();
let user = ""; // the ID of whom the page shows
let lost = () => {};
let reached = () => {};

export function beginSession(userID) {
  endSession();
  user = userID;
}

export function endSession() {
  user = "";
  session.abort(new SessionOver());
  session = new AbortController();
}

// onSessionLost has call(code) called when the server refuses a request because
// nobody is signed in, or somebody else is: in another tab, with the same cookie.
export const onSessionLost = (call) => { lost = call; };

// onReached sets the function to call after each answer of the server.
export const onReached = (call) => { reached = call; };

export async function api(method, path, body, headers = {}) {
  const mine = session;
  if (body) headers = { "Content-Type": "application/json", ...headers };
  if (user) headers = { "X-User": user, ...headers };
  const offline = () => {
    mine.signal.throwIfAborted();
    throw new APIError(0, "offline", "The server cannot be reached. Try again in a moment.");
  };
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body),
    signal: AbortSignal.any([mine.signal, AbortSignal.timeout(PATIENCE)]) }).catch(offline);
  reached();
  if (response.status === 204) return null;
  const answer = await response.json().catch(response.ok ? offline : () => null); // half of it is no answer
  mine.signal.throwIfAborted();
  if (response.ok) return answer;
  const { code, message } = answer?.error ?? { code: "unknown", message: `The server answered with status ${response.status}.` };
  if (code === "other_user" || (response.status === 401 && code !== "wrong_credentials")) {
    lost(code);
    mine.signal.throwIfAborted();
  }
  throw new APIError(response.status, code, message);
}
