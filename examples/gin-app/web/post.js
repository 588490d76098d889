// One post of the feed with its reactions and, while it is open, its comments.

import { api } from "./api.js";
import { announce, element, time } from "./dom.js";
import { connectTextForm } from "./form.js";
import { icon, KINDS } from "./icon.js";
import { coalesce, ignoreWhileBusy, nextRequestNumber } from "./work.js";

const TYPING_INTERVAL = 2000; // between requests which say that the user is typing, in milliseconds
const TYPING_TIME = 3000; // how long a user is shown as typing

export class PostView {
  #comments = new Map(); // {comment, item} by ID
  #earlierCount = 0; // number of comments older than those
  #newestAnswered = 0; // ID of the newest comment in a response; events may leave holes after it
  #requestNumber = 0; // number of the request whose response is shown
  #buttons = {};
  #typists = new Map(); // {name, timer} by user ID
  #typed = 0; // when the server was told that the viewer is typing

  constructor(post, feed, requestNumber) {
    this.id = post.id;
    this.feed = feed;
    this.post = post;
    const reactions = KINDS.map((kind) => {
      const count = element("span", {});
      const button = element("button", { type: "button", className: "reaction", title: kind }, icon(kind), count);
      button.addEventListener("click", ignoreWhileBusy(() => feed.attempt(() => this.#react(kind))));
      this.#buttons[kind] = { button, count };
      return button;
    });
    this.toggle = element("button", { type: "button", className: "toggle", ariaExpanded: "false" });
    this.toggle.addEventListener("click", () => feed.attempt(() => feed.show(feed.open === this ? null : this.id)));

    this.more = element("button", { type: "button", className: "earlier", hidden: true }, "Earlier comments");
    this.more.addEventListener("click", ignoreWhileBusy(() => feed.attempt(() => this.#fetchEarlier())));
    this.list = element("ol", { className: "comments" });
    const field = element("input", { name: "body", maxLength: 1000, required: true, placeholder: "Write a comment", ariaLabel: "Comment", autocomplete: "off" });
    const form = element("form", { className: "line" }, field, element("button", {}, "Send"));
    connectTextForm(form, feed.attempt, async (body, key) => {
      this.#add(await api("POST", `/api/posts/${this.id}/comments`, { body }, { "Idempotency-Key": key }));
      this.#render();
    });

    field.addEventListener("input", () => {
      if (field.value === "" || Date.now() - this.#typed < TYPING_INTERVAL) return;
      this.#typed = Date.now();
      feed.typed(this.id);
    });

    this.readers = element("p", { className: "hint present readers", ariaLive: "polite" });
    this.typists = element("p", { className: "hint present typists", ariaLive: "polite" });
    this.details = element("div", { className: "details", hidden: true }, this.readers, this.more, this.list, this.typists, form);
    this.node = element("article", {},
      element("p", { id: `byline-${post.id}` }, element("b", {}, post.author.name), " ", time(post.created_at)),
      element("p", { className: "body" }, post.body),
      element("div", { className: "bar" }, ...reactions, this.toggle),
      this.details);
    this.node.dataset.post = post.id;
    this.node.setAttribute("aria-labelledby", `byline-${post.id}`);
    this.update(post, requestNumber);
  }

  expand(open) {
    this.details.hidden = !open;
    this.toggle.ariaExpanded = String(open);
  }

  // reveal scrolls to the comment of a notification, and focuses it. If the comment is not shown,
  // reveal focuses the post's toggle instead.
  reveal(notification) {
    const found = notification.type === "comment" && [...this.#comments.values()].find(({ comment }) =>
      comment.author.id === notification.actor.id && comment.created_at === notification.created_at && comment.body === notification.body);
    const target = found ? found.item : this.toggle;
    target.scrollIntoView({ block: "center" });
    target.focus({ preventScroll: true });
  }

  refresh = coalesce(async () => {
    const requestNumber = nextRequestNumber();
    this.update(await api("GET", `/api/posts/${this.id}`), requestNumber);
  });

  // update shows the post of a response, unless the response to a later request is shown. Only
  // GET /api/posts/:id includes comments.
  update(post, requestNumber) {
    if (requestNumber < this.#requestNumber) return;
    this.#requestNumber = requestNumber;
    this.post = post;
    if (post.comments) this.#showComments(post.comments, post.comment_count);
    this.#render();
  }

  // showComments shows the newest of count comments. If there are comments between these and the
  // ones shown before, it removes those, which would otherwise leave a hole. The user can load
  // them again with "Earlier comments".
  #showComments(comments, count) {
    const first = comments[0]?.id ?? Infinity;
    if (comments.length < count && first > this.#newestAnswered) {
      for (const [id, { item }] of this.#comments) {
        if (id >= first) continue;
        item.remove();
        this.#comments.delete(id);
      }
    }
    this.#earlierCount = count - comments.length - [...this.#comments.keys()].filter((id) => id < first).length;
    this.#newestAnswered = Math.max(this.#newestAnswered, comments.at(-1)?.id ?? 0);
    comments.forEach((comment) => this.#add(comment));
  }

  async #fetchEarlier() {
    const before = Math.min(...this.#comments.keys());
    const { comments } = await api("GET", `/api/posts/${this.id}/comments?limit=100&before=${before}`);
    if (Math.min(...this.#comments.keys()) !== before) return; // showComments has replaced the list
    this.#earlierCount = comments.length === 0 ? 0 : this.#earlierCount - comments.filter((comment) => this.#add(comment)).length;
    this.#render();
    this.#comments.get(comments.at(-1)?.id)?.item.focus(); // the button may be hidden now
  }

  async #react(kind) {
    if (this.post.my_reactions.includes(kind)) await api("DELETE", `/api/posts/${this.id}/reactions/${kind}`);
    else await api("POST", `/api/posts/${this.id}/reactions`, { kind });
    this.#requestNumber = nextRequestNumber(); // responses to earlier requests do not include it
    await this.refresh();
  }

  // showReaders shows who else has the post open.
  showReaders(text) { if (this.readers.textContent !== text) this.readers.textContent = text; }

  // typing shows for a while that a user is writing a comment.
  typing({ id, name }) {
    clearTimeout(this.#typists.get(id)?.timer);
    this.#typists.set(id, { name, timer: setTimeout(() => this.#stoppedTyping(id), TYPING_TIME) });
    this.#showTypists();
  }

  #stoppedTyping(id) {
    clearTimeout(this.#typists.get(id)?.timer);
    if (this.#typists.delete(id)) this.#showTypists();
  }

  #showTypists() {
    const names = [...this.#typists.values()].map(({ name }) => name);
    const text = names.length === 0 ? "" : `${names.length > 2 ? "Several people" : names.join(" and ")} ${names.length === 1 ? "is" : "are"} typing…`;
    if (this.typists.textContent !== text) this.typists.textContent = text;
  }

  // commented adds a comment from an event, and has screen readers read it.
  commented(comment) {
    this.#stoppedTyping(comment.author.id);
    if (!this.#add(comment)) return;
    this.#render();
    if ([comment.author.id, this.post.author.id].includes(this.feed.viewer)) return; // the author knows, and the post's author gets a notification
    announce(`${comment.author.name} commented: ${comment.body}`);
  }

  // add returns whether the list lacked the comment.
  #add(comment) {
    if (this.#comments.has(comment.id)) return false;
    const item = element("li", { tabIndex: -1 }, element("b", {}, comment.author.name), " ", element("span", { className: "body" }, comment.body), " ", time(comment.created_at));
    const next = Math.min(...[...this.#comments.keys()].filter((id) => id > comment.id));
    this.list.insertBefore(item, this.#comments.get(next)?.item ?? null);
    this.#comments.set(comment.id, { comment, item });
    return true;
  }

  #render() {
    for (const [kind, { button, count }] of Object.entries(this.#buttons)) {
      count.textContent = this.post.reactions[kind];
      button.ariaPressed = String(this.post.my_reactions.includes(kind));
      button.ariaLabel = `${kind}, ${this.post.reactions[kind]}`;
    }
    const comments = Math.max(this.post.comment_count, this.#earlierCount + this.#comments.size); // comments are never deleted
    this.toggle.textContent = `${comments} comment${comments === 1 ? "" : "s"}`;
    this.more.hidden = this.#earlierCount <= 0;
  }
}
