// Forms that send a text.

import { ignoreWhileBusy } from "./work.js";

const KEY_LIFETIME = 120_000; // for how long a retry uses the same key, in milliseconds

// connectTextForm makes a form send its text with send(text, key). Submitting again while it sends
// does nothing.
//
// A retry of the same text after a failure uses the same key. If only the response was lost, the
// server recognizes the key and does not add the text twice. A text that the user typed again
// gets a new key.
export function connectTextForm(form, attempt, send) {
  const field = form.elements.body;
  let lastTry = {};
  const forgetTry = () => { lastTry = {}; };
  form.addEventListener("reset", forgetTry);
  form.addEventListener("input", () => { if (field.value === "") forgetTry(); });
  const submit = ignoreWhileBusy(() => attempt(async () => {
    const text = field.value;
    if (lastTry.text !== text || Date.now() - lastTry.begun > KEY_LIFETIME) lastTry = { text, key: newKey(), begun: Date.now() };
    form.ariaBusy = "true";
    try {
      await send(text, lastTry.key);
    } finally {
      form.ariaBusy = "false";
    }
    forgetTry();
    if (field.value === text) field.value = ""; // keep it if the user typed more
  }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
}

function newKey() { return crypto.getRandomValues(new Uint32Array(4)).join("-"); }
