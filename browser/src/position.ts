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
  const attempt = <T>(action: () => T) => {
    try {
      return action();
    } catch {} // storage is forbidden or full
    return undefined;
  };
  const place = `ginsse ${href} ${identity} ${topics}`; // streams that begin with other topics have other positions

  // Cookies are of an origin, so it has one person at a time.
  const origins = `ginsse ${origin}`;
  const person = () => attempt(() => localStorage[origins]);
  const personal = identity && !headers;
  if (personal) attempt(() => (localStorage[origins] = identity));
  const current = person();
  return {
    position: () => attempt(() => sessionStorage[place]) || (persist && attempt(() => localStorage[place])) || "",
    save(position) {
      attempt(() => (sessionStorage[place] = position));
      if (persist) attempt(() => (localStorage[place] = position));
    },
    replaced: () => !!personal && person() !== current,
  };
}
