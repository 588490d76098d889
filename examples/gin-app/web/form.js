// What people write and send.

import { once } from "./work.js";

// sendsText makes a form send its text: once, however often it is submitted. After a
// failure the same text goes with the same key, by which the server knows it if it was
// only the answer that was lost.
export function sendsText(form, attempt, send) {
  const field = form.elements.body;
  let trial = {};
  const submit = once(() => attempt(async () => {
    const text = field.value;
    if (trial.text !== text) trial = { text, key: newKey() };
    await send(text, trial.key);
    trial = {};
    if (field.value === text) field.value = ""; // or more was written meanwhile
  }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
}

function newKey() { return crypto.getRandomValues(new Uint32Array(4)).join("-"); }
