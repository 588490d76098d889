// How often something is done, and in which order.

let asked = 0;

// askedNow numbers what is asked of the server: what an answer says may be older than what
// one that was asked for later has said before.
export const askedNow = () => ++asked;

// once returns a function that runs an action unless it is under way.
export function once(action) {
  let busy = false;
  return async (...given) => {
    if (busy) return;
    busy = true;
    try {
      await action(...given);
    } finally {
      busy = false;
    }
  };
}

// coalesce returns a function that runs an action, once at a time. Calls while it is
// under way become one more: what has changed since it began must be seen too.
export function coalesce(action) {
  let current = null;
  let next = null;
  return function run() {
    if (current) return next ??= current.catch(() => {}).then(() => { next = null; return run(); });
    current = action().finally(() => { current = null; });
    return current;
  };
}
