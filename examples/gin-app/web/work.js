// Helpers for actions that overlap.

let requests = 0;

// nextRequestNumber returns a number for a request. If two responses differ, the one with the higher
// number is newer, in whatever order they arrive.
export const nextRequestNumber = () => ++requests;

// ignoreWhileBusy returns a function that runs an action, unless the action is still running.
export function ignoreWhileBusy(action) {
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

// coalesce returns a function that runs an action, one run at a time. All calls during a run
// share one more run after it, which sees what changed since the first one began.
export function coalesce(action) {
  let current = null;
  let next = null;
  return function run() {
    if (current) return next ??= current.catch(() => {}).then(() => { next = null; return run(); });
    current = action().finally(() => { current = null; });
    return current;
  };
}
