// What a page has seen: the numbers of its events, and what its library has reported.
export const seen = (window.seen = { events: [], calls: [] });
export const event = ({ n }) => seen.events.push(n);
export const call = (...words) => seen.calls.push(words.join(" "));

/** A position that survives a reload: the page's own code, where a library has none. */
export const stored = () => sessionStorage.position ?? "";
export const store = (position) => (sessionStorage.position = position);

/** A token that expires after two seconds at least and three at most. */
export const token = async (user) => (await fetch(`/token?user=${user}&ttl=2000`)).text();
