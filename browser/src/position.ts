// What outlives a page: the position of its stream, and who was signed in.

import type { Options } from "./types.js";

/** The position of a stream and the identity of this browser, in the browser's storage. */
export interface Memory {
  position(): string;
  save(position: string): void;
  /** Reports whether another person has signed in since, with the same cookies. */
  replaced(): boolean;
}

export function newMemory({ href, origin }: URL, topics: string[], { identity = "", headers, persist }: Options): Memory {
  // Functions, because to name a storage that is forbidden throws.
  const tab = () => sessionStorage;
  const browser = () => localStorage;
  const attempt = <T>(action: () => T) => {
    try {
      return action();
    } catch {} // forbidden, full, or written by another script
    return undefined;
  };
  const place = `ginsse ${href} ${topics}`; // streams that begin with other topics have other positions
  const saved = (storage: () => Storage) =>
    attempt(() => {
      const [owner, position] = JSON.parse(storage().getItem(place)!);
      return owner === identity && (position as string);
    });
  const save = (storage: () => Storage, position: string) => attempt(() => storage().setItem(place, JSON.stringify([identity, position])));

  // Cookies are of an origin, so it has one person at a time.
  const person = () => attempt(() => localStorage.getItem(`ginsse ${origin}`));
  const personal = identity && !headers;
  if (personal) attempt(() => localStorage.setItem(`ginsse ${origin}`, identity));
  const current = person();
  return {
    position: () => saved(tab) || (persist && saved(browser)) || "",
    save(position) {
      save(tab, position);
      if (persist) save(browser, position);
    },
    replaced: () => !!personal && person() !== current,
  };
}
