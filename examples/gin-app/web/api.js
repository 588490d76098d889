// Requests to the server. Its answers say what is true; the event stream says when
// to look, or brings what is new.

export class APIError extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

// sessionEnded is called when a request was refused because nobody is signed in.
let sessionEnded = () => {};
export const onSessionEnded = (call) => { sessionEnded = call; };

export async function api(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  }).catch(() => { throw new APIError(0, "offline", "The server cannot be reached. Try again in a moment."); });
  const answer = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok) return answer;
  const { code, message } = answer?.error ?? { code: "unknown", message: `The server answered with status ${response.status}.` };
  if (response.status === 401 && code !== "wrong_credentials") sessionEnded();
  throw new APIError(response.status, code, message);
}
