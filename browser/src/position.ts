// What outlives a page: the position of its stream, and who was signed in.

import type { Options } from "./types.js";

/** The position of a stream and the identity of this browser, in the browser's storage. */
export interface Memory {
  position(): string;
  save(position: string): void;
  /** Reports whether another person has signed in since, with the same cookies. */
  replaced(): boolean;
}

export function newMemory(url: string, options: Options): Memory {
  const key = `ginsse ${url}`;
  const owner = options.identity ?? "";
  // Storage may be forbidden, or full.
  const attempt = <T>(action: () => T): T | undefined => {
    try {
      return action();
    } catch {
      return undefined;
    }
  };
  const places = () => (options.persist ? [sessionStorage, localStorage] : [sessionStorage]);
  const personal = owner && !options.headers;
  if (personal) attempt(() => localStorage.setItem(`${key} identity`, owner));
  return {
    position: () =>
      attempt(() => {
        for (const place of places()) {
          const [who, position] = JSON.parse(place.getItem(key) ?? "[]");
          if (who === owner && position) return position as string;
        }
      }) ?? "",
    save: (position) => attempt(() => places().forEach((place) => place.setItem(key, JSON.stringify([owner, position])))),
    replaced: () => !!personal && attempt(() => (localStorage.getItem(`${key} identity`) ?? owner) !== owner) === true,
  };
}
