// What people write and send.

import { once } from "./work.js";

const TRIED = 120_000;

// sendsText makes a form send its text: once, however often it is submitted. When it is
// tried again after a failure, the same text goes with the same key, by which the server
// knows it if it was only the answer that was lost. Text that is written anew is new.
export function sendsText(form, attempt, send) {
  const field = form.elements.body;
  let trial = {};
  const forget = () => { trial = {}; };
  form.addEventListener("reset", forget);
  form.addEventListener("input", () => { if (field.value === "") forget(); });
  const submit = once(() => attempt(async () => {
    const text = field.value;
    if (trial.text !== text || Date.now() - trial.begun > TRIED) trial = { text, key: newKey(), begun: Date.now() };
    form.ariaBusy = "true";
    try {
      await send(text, trial.key);
    } finally {
      form.ariaBusy = "false";
    }
    forget();
    if (field.value === text) field.value = ""; // or more was written meanwhile
  }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
}

function newKey() { return crypto.getRandomValues(new Uint32Array(4)).join("-"); }
