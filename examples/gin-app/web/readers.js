// Who has which post open, by the events of ginsse about presence.

// Readers keeps who is present at the topics that the stream reads, also at those that only other tabs
// have open. It calls changed(topic) when that changes. It leaves out the user of the page.
export class Readers {
  #topics = new Map(); // {count, names} by topic; names are by user ID

  constructor(stream, viewer, changed) {
    const set = (topic, count, change) => {
      const { names } = this.#topics.get(topic) ?? { names: new Map() };
      change(names);
      names.delete(viewer);
      this.#topics.set(topic, { count, names });
      changed(topic);
    };
    const forget = (topics) => {
      for (const topic of topics) if (this.#topics.delete(topic)) changed(topic);
    };
    stream.on("sse.open", () => forget([...this.#topics.keys()])); // sse.present follows
    stream.on("sse.topics", ({ added = [], removed = [] }) => forget([...added, ...removed]));
    stream.on("sse.present", ({ topic, count, users }) => set(topic, count, (names) => {
      names.clear();
      for (const { user, value } of users) names.set(user, value.name);
    }));
    stream.on("sse.join", ({ topic, count, user, value }) => set(topic, count, (names) => names.set(user, value.name)));
    stream.on("sse.leave", ({ topic, count, user }) => set(topic, count, (names) => names.delete(user)));
  }

  // describe returns a sentence about a topic, or "" if nobody else is there.
  describe(topic) {
    const { count, names } = this.#topics.get(topic) ?? { count: 0, names: new Map() };
    const [first, second] = [...names.values()].sort();
    const others = Math.max(names.size, count - 1); // in a crowd, names has some of them
    if (others === 0 || !first) return "";
    if (others === 1) return `${first} is reading`;
    return others === 2 && second ? `${first} and ${second} are reading` : `${first} and ${others - 1} others are reading`;
  }
}
