// What outlives a page: the position of its stream, and who was signed in.

import type { Options } from "./types.js";

/** The position of a stream and the identity of this browser, in the browser's storage. */
export interface Memory {
  position(): string;
  save(position: string): void;
  /** Reports whether another person has signed in since, with the same cookies. */
  replaced(): boolean;
}

export function newMemory(url: string, { identity = "", headers, persist }: Options): Memory {
  const key = `ginsse ${url}`;
  // Functions, because to name a storage that is forbidden throws.
  const tab = () => sessionStorage;
  const browser = () => localStorage;
  const read = (place: () => Storage): string[] => {
    try {
      return ([] as string[]).concat(JSON.parse(place().getItem(key)!)); // another script may have written anything
    } catch {
      return [];
    }
  };
  const write = (place: () => Storage, position: string) => {
    try {
      place().setItem(key, JSON.stringify([identity, position]));
    } catch {} // forbidden, or full
  };
  const mine = ([owner, position]: string[]) => owner === identity && position;
  const personal = identity && !headers;
  if (personal && read(browser)[0] !== identity) write(browser, "");
  return {
    position: () => mine(read(tab)) || (persist && mine(read(browser))) || "",
    save(position) {
      write(tab, position);
      if (persist) write(browser, position);
    },
    replaced: () => !!personal && (read(browser)[0] ?? identity) !== identity,
  };
}
