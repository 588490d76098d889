// A page for the tests of frameworks: a document, and a stream with its server. Frameworks look for
// the document when they are imported, so a test installs it first and imports them after that.

import { Window } from "happy-dom";
import { connect } from "../src/ginsse.js";
import { newFakeServer } from "../src/testing.js";

/** Makes a document, and what belongs to it, global. */
export function installDocument() {
  const window = new Window({ url: "http://localhost/" });
  const { document, navigator, Node, Element, HTMLElement, SVGElement, HTMLIFrameElement } = window;
  Object.assign(globalThis, { window, document, Node, Element, HTMLElement, SVGElement, HTMLIFrameElement });
  Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true });
  for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"] as const) {
    Object.assign(globalThis, { [name]: window[name].bind(window) });
  }
}

/** Adds an empty element to the document. */
export const newElement = () => document.body.appendChild(document.createElement("div"));

export type Events = { comment: string; like: number };

/** Returns a stream and its server. */
export function newStream() {
  const server = newFakeServer<Events>({ retry: 1 });
  let requested = () => {};
  const stream = connect<Events>("/events", {
    fetch(input, init) {
      const response = server.fetch(input, init);
      requested();
      return response;
    },
  });
  /** Resolves when the stream reads these topics, and promises for that have been handled. */
  async function reads(...topics: string[]) {
    while (server.requests.at(-1)?.topics.join() !== topics.join()) await new Promise<void>((resolve) => (requested = resolve));
    await server.connected();
    await new Promise(setImmediate);
  }
  return { server, stream, reads };
}
