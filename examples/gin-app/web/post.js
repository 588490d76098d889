// One post of the feed, with its reactions, and its comments when it is open.

import { api } from "./api.js";
import { announce, element, time } from "./dom.js";
import { sendsText } from "./form.js";
import { coalesce, once } from "./work.js";

// Each with the selector that has it in colour, whatever the font.
export const KINDS = { like: "👍\uFE0F", love: "❤\uFE0F", laugh: "😄\uFE0F" };

export class PostView {
  #comments = new Map(); // {comment, item} by ID
  #earlier = null; // how many comments are before those; null until they were asked for
  #buttons = {};

  constructor(post, feed) {
    this.id = post.id;
    const reactions = Object.entries(KINDS).map(([kind, sign]) => {
      const count = element("span", {});
      const button = element("button", { type: "button", className: "reaction", title: kind }, sign, " ", count);
      button.addEventListener("click", once(() => feed.attempt(() => this.#react(kind))));
      this.#buttons[kind] = { button, count };
      return button;
    });
    this.toggle = element("button", { type: "button", className: "toggle", ariaExpanded: "false" });
    this.toggle.addEventListener("click", () => feed.attempt(() => feed.show(feed.open === this ? null : this.id)));

    this.more = element("button", { type: "button", className: "earlier", hidden: true }, "Earlier comments");
    this.more.addEventListener("click", once(() => feed.attempt(() => this.#fetchEarlier())));
    this.list = element("ol", { className: "comments" });
    const field = element("input", { name: "body", maxLength: 1000, required: true, placeholder: "Write a comment", ariaLabel: "Comment", autocomplete: "off" });
    const form = element("form", { className: "line" }, field, element("button", {}, "Send"));
    sendsText(form, feed.attempt, async (body, key) => {
      this.#add(await api("POST", `/api/posts/${this.id}/comments`, { body }, { "Idempotency-Key": key }));
      this.#render();
    });

    this.details = element("div", { className: "details", hidden: true }, this.more, this.list, form);
    this.node = element("article", {},
      element("p", {}, element("b", {}, post.author.name), " ", time(post.created_at)),
      element("p", { className: "body" }, post.body),
      element("div", { className: "bar" }, ...reactions, this.toggle),
      this.details);
    this.node.dataset.post = post.id;
    this.update(post);
  }

  expand(open) {
    this.details.hidden = !open;
    this.toggle.ariaExpanded = String(open);
  }

  // reveal scrolls to what a notification of this post is about, and puts the focus there:
  // the comment, if it is among those shown.
  reveal(notice) {
    const found = notice.type === "comment" && [...this.#comments.values()].find(({ comment }) =>
      comment.author.id === notice.actor.id && comment.created_at === notice.created_at && comment.body === notice.body);
    const target = found ? found.item : this.toggle;
    target.scrollIntoView({ block: "center" });
    target.focus({ preventScroll: true });
  }

  refresh = coalesce(async () => this.update(await api("GET", `/api/posts/${this.id}`)));

  // update shows the state that an answer has. Only one that has asked for the post
  // itself has comments.
  update(post) {
    this.post = post;
    if (post.comments) {
      const first = post.comments[0]?.id ?? Infinity;
      if (post.comments.length < post.comment_count && first > Math.max(...this.#comments.keys())) {
        // There may be others between those and what is shown: that goes, and can be asked for.
        this.list.replaceChildren();
        this.#comments.clear();
      }
      const before = [...this.#comments.keys()].filter((id) => id < first).length;
      this.#earlier = post.comment_count - post.comments.length - before;
      post.comments.forEach((comment) => this.#add(comment));
    }
    this.#render();
  }

  async #fetchEarlier() {
    const { comments } = await api("GET", `/api/posts/${this.id}/comments?limit=100&before=${Math.min(...this.#comments.keys())}`);
    this.#earlier = comments.length === 0 ? 0 : this.#earlier - comments.filter((comment) => this.#add(comment)).length;
    this.#render();
  }

  async #react(kind) {
    if (this.post.my_reactions.includes(kind)) await api("DELETE", `/api/posts/${this.id}/reactions/${kind}`);
    else await api("POST", `/api/posts/${this.id}/reactions`, { kind });
    await this.refresh();
  }

  // commented takes a comment that the stream has brought.
  commented(comment) {
    if (!this.#add(comment)) return;
    this.#render();
    announce(`${comment.author.name} commented: ${comment.body}`);
  }

  // add says whether the comment was missing.
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
    const comments = this.#earlier === null ? this.post.comment_count : this.#earlier + this.#comments.size;
    this.toggle.textContent = `${comments} comment${comments === 1 ? "" : "s"}`;
    this.more.hidden = !(this.#earlier > 0);
  }
}
