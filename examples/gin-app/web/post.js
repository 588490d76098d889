// One post of the feed, with its reactions, and its comments when it is open.

import { api } from "./api.js";
import { announce, element, time } from "./dom.js";
import { sendsText } from "./form.js";
import { icon, KINDS } from "./icon.js";
import { askedNow, coalesce, once } from "./work.js";

export class PostView {
  #comments = new Map(); // {comment, item} by ID
  #earlier = 0; // how many comments are before those
  #through = 0; // the newest comment that an answer had; those of events may not be all
  #asked = 0; // when what is shown was asked for
  #buttons = {};

  constructor(post, feed, asked) {
    this.id = post.id;
    this.feed = feed;
    this.post = post;
    const reactions = KINDS.map((kind) => {
      const count = element("span", {});
      const button = element("button", { type: "button", className: "reaction", title: kind }, icon(kind), count);
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
      element("p", { id: `byline-${post.id}` }, element("b", {}, post.author.name), " ", time(post.created_at)),
      element("p", { className: "body" }, post.body),
      element("div", { className: "bar" }, ...reactions, this.toggle),
      this.details);
    this.node.dataset.post = post.id;
    this.node.setAttribute("aria-labelledby", `byline-${post.id}`);
    this.update(post, asked);
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

  refresh = coalesce(async () => {
    const asked = askedNow();
    this.update(await api("GET", `/api/posts/${this.id}`), asked);
  });

  // update shows the state that an answer has, unless that of a later question is there.
  // Only an answer about the post itself has comments.
  update(post, asked) {
    if (asked < this.#asked) return;
    this.#asked = asked;
    this.post = post;
    if (post.comments) this.#list(post.comments, post.comment_count);
    this.#render();
  }

  // list shows the newest comments of so many. Where they do not reach down to what
  // answers had before, what is older goes: comments in between would be missing, and
  // can be asked for.
  #list(comments, count) {
    const first = comments[0]?.id ?? Infinity;
    if (comments.length < count && first > this.#through) {
      for (const [id, { item }] of this.#comments) {
        if (id >= first) continue;
        item.remove();
        this.#comments.delete(id);
      }
    }
    this.#earlier = count - comments.length - [...this.#comments.keys()].filter((id) => id < first).length;
    this.#through = Math.max(this.#through, comments.at(-1)?.id ?? 0);
    comments.forEach((comment) => this.#add(comment));
  }

  async #fetchEarlier() {
    const before = Math.min(...this.#comments.keys());
    const { comments } = await api("GET", `/api/posts/${this.id}/comments?limit=100&before=${before}`);
    if (Math.min(...this.#comments.keys()) !== before) return; // the list was begun anew
    this.#earlier = comments.length === 0 ? 0 : this.#earlier - comments.filter((comment) => this.#add(comment)).length;
    this.#render();
    this.#comments.get(comments.at(-1)?.id)?.item.focus(); // the button may have gone
  }

  async #react(kind) {
    if (this.post.my_reactions.includes(kind)) await api("DELETE", `/api/posts/${this.id}/reactions/${kind}`);
    else await api("POST", `/api/posts/${this.id}/reactions`, { kind });
    this.#asked = askedNow(); // answers from before know nothing of it
    await this.refresh();
  }

  // commented takes a comment that the stream has brought.
  commented(comment) {
    if (!this.#add(comment)) return;
    this.#render();
    if ([comment.author.id, this.post.author.id].includes(this.feed.viewer)) return; // who knows, or has a notification
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
    const comments = Math.max(this.post.comment_count, this.#earlier + this.#comments.size); // none is ever deleted
    this.toggle.textContent = `${comments} comment${comments === 1 ? "" : "s"}`;
    this.more.hidden = this.#earlier <= 0;
  }
}
