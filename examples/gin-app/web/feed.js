// The posts. Both an answer of the server and an event may bring the same thing, in
// any order, so everything is kept by its ID.

import { api } from "./api.js";
import { $, element, time } from "./dom.js";

export const PAGE = 20;
export const KINDS = { like: "👍", love: "❤️", laugh: "😄" };

// A Feed is the list of posts, of which one may be open. It calls opened(id or null)
// when that changes, and attempt(action) for what a person has asked for.
export class Feed {
  #posts = new Map(); // PostView by ID
  #newest = 0;
  open = null; // PostView

  constructor({ opened, attempt }) {
    Object.assign(this, { opened, attempt });
    $("more").addEventListener("click", () => attempt(async () =>
      this.merge((await api("GET", `/api/posts?limit=${PAGE}&before=${Math.min(...this.#posts.keys())}`)).posts)));
    $("write").addEventListener("submit", (event) => {
      event.preventDefault();
      const form = event.target;
      attempt(async () => {
        this.add(await api("POST", "/api/posts", { body: form.elements.body.value }));
        form.reset();
      });
    });
  }

  clear() {
    this.open = null;
    this.#newest = 0;
    this.#posts.clear();
    $("posts").replaceChildren();
    $("more").hidden = true;
  }

  // refetch gets the newest posts, and the open one with its comments.
  async refetch() {
    this.merge((await api("GET", `/api/posts?limit=${PAGE}`)).posts);
    await this.open?.refresh();
  }

  // merge shows a page of posts as the API lists them. Where a full page does not
  // reach down to what was fetched before, what is older goes: it can be asked for
  // again, and posts missing in between could not be seen to be.
  merge(page) {
    if (page.length < PAGE) $("more").hidden = true;
    else if (page.at(-1).id > this.#newest) {
      for (const view of [...this.#posts.values()].filter(({ id }) => id < page.at(-1).id)) {
        if (view === this.open) this.show(null);
        view.node.remove();
        this.#posts.delete(view.id);
      }
      $("more").hidden = false;
    }
    this.#newest = Math.max(this.#newest, ...page.map(({ id }) => id));
    page.forEach((post) => this.add(post));
    $("empty").hidden = this.#posts.size > 0;
  }

  // add shows a post, or its new state: newest first.
  add(post) {
    $("empty").hidden = true;
    if (this.#posts.has(post.id)) return this.#posts.get(post.id).update(post);
    const view = new PostView(post, this);
    const older = Math.max(...[...this.#posts.keys()].filter((id) => id < post.id));
    this.#posts.set(post.id, view);
    $("posts").insertBefore(view.node, this.#posts.get(older)?.node ?? null);
  }

  // show opens a post, which may not be in the list, or closes the one that is open.
  // The stream is opened anew, with or without the post's topic, from where it was; so
  // nothing is missed in between.
  async show(id) {
    if (id !== null && !this.#posts.has(id)) this.add(await api("GET", `/api/posts/${id}`));
    this.open?.expand(false);
    this.open = id === null ? null : this.#posts.get(id);
    this.opened(id);
    if (!this.open) return;
    this.open.expand(true);
    await this.open.refresh();
  }

  async refresh(id) { await this.#posts.get(id)?.refresh(); }

  addComment(comment) { this.#posts.get(comment.post_id)?.addComment(comment); }
}

class PostView {
  #comments = new Set(); // IDs
  #buttons = {};

  constructor(post, feed) {
    this.id = post.id;
    const reactions = Object.entries(KINDS).map(([kind, sign]) => {
      const count = element("span", {});
      const button = element("button", { type: "button", className: "reaction", title: kind }, sign, " ", count);
      button.addEventListener("click", () => feed.attempt(() => this.#react(kind)));
      this.#buttons[kind] = { button, count };
      return button;
    });
    this.toggle = element("button", { type: "button", className: "toggle", ariaExpanded: "false" });
    this.toggle.addEventListener("click", () => feed.attempt(() => feed.show(feed.open === this ? null : this.id)));
    this.list = element("ol", { className: "comments", ariaLive: "polite" });
    const field = element("input", { name: "body", maxLength: 1000, required: true, placeholder: "Write a comment", ariaLabel: "Comment", autocomplete: "off" });
    const form = element("form", { className: "line" }, field, element("button", {}, "Send"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      feed.attempt(async () => {
        this.addComment(await api("POST", `/api/posts/${this.id}/comments`, { body: field.value }));
        field.value = "";
      });
    });
    this.details = element("div", { hidden: true }, this.list, form);
    this.node = element("article", {},
      element("p", { className: "byline" }, element("b", {}, post.author.name), " ", time(post.created_at)),
      element("p", { className: "body" }, post.body),
      element("div", { className: "bar" }, ...reactions, this.toggle),
      this.details);
    this.node.dataset.post = post.id;
    this.update(post);
  }

  update(post) {
    this.post = post;
    for (const [kind, { button, count }] of Object.entries(this.#buttons)) {
      count.textContent = post.reactions[kind];
      button.ariaPressed = String(post.my_reactions.includes(kind));
      button.ariaLabel = `${kind}, ${post.reactions[kind]}`;
    }
    this.toggle.textContent = `${post.comment_count} comment${post.comment_count === 1 ? "" : "s"}`;
    post.comments?.forEach((comment) => this.addComment(comment));
  }

  expand(open) {
    this.details.hidden = !open;
    this.toggle.ariaExpanded = String(open);
  }

  async refresh() { this.update(await api("GET", `/api/posts/${this.id}`)); }

  async #react(kind) {
    if (this.post.my_reactions.includes(kind)) await api("DELETE", `/api/posts/${this.id}/reactions/${kind}`);
    else await api("POST", `/api/posts/${this.id}/reactions`, { kind });
    await this.refresh();
  }

  addComment(comment) {
    if (this.#comments.has(comment.id)) return;
    this.#comments.add(comment.id);
    const item = element("li", {}, element("b", {}, comment.author.name), " ", element("span", { className: "body" }, comment.body), " ", time(comment.created_at));
    item.dataset.comment = comment.id;
    const next = [...this.list.children].find((other) => Number(other.dataset.comment) > comment.id);
    this.list.insertBefore(item, next ?? null);
    if (this.#comments.size > this.post.comment_count) this.update({ ...this.post, comments: undefined, comment_count: this.#comments.size });
  }
}
