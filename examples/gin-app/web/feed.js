// The posts. Both an answer of the server and an event may bring the same thing, in
// any order, so everything is kept by its ID.

import { api } from "./api.js";
import { $ } from "./dom.js";
import { sendsText } from "./form.js";
import { PostView } from "./post.js";
import { askedNow, once } from "./work.js";

const PAGE = 20;

// A Feed is the list of posts, of which one may be open. It calls opened(id or null)
// when that changes, and attempt(action) for what a person has asked for.
export class Feed {
  #posts = new Map(); // PostView by ID
  #newest = 0;
  #oldest = Infinity; // down to here the list has no holes; a post that was opened may be below
  #turn = 0;
  open = null; // PostView
  viewer = ""; // the ID of who looks

  constructor({ opened, attempt }) {
    Object.assign(this, { opened, attempt });
    $("more").addEventListener("click", once(() => attempt(() => this.#older())));
    sendsText($("write"), attempt, async (body, key) =>
      this.arrived(await api("POST", "/api/posts", { body }, { "Idempotency-Key": key })));
  }

  clear() {
    this.open = null;
    this.#turn++;
    this.#newest = 0;
    this.#oldest = Infinity;
    this.#posts.clear();
    $("posts").replaceChildren();
    $("more").hidden = true;
  }

  // refetch gets the newest posts, and the open one with its comments. Where the
  // newest do not reach down to what was listed before, what is older goes: posts in
  // between would be missing, and can be asked for.
  async refetch() {
    const asked = askedNow();
    const { posts } = await api("GET", `/api/posts?limit=${PAGE}`);
    const last = posts.length < PAGE ? 0 : posts.at(-1).id;
    if (last > this.#newest) {
      for (const view of [...this.#posts.values()].filter((view) => view.id < last && view !== this.open)) {
        view.node.remove();
        this.#posts.delete(view.id);
      }
      this.#oldest = last;
    }
    this.#oldest = Math.min(this.#oldest, last);
    this.#newest = Math.max(this.#newest, posts[0]?.id ?? 0);
    this.#show(posts, asked);
    await this.open?.refresh();
  }

  async #older() {
    const before = this.#oldest;
    const asked = askedNow();
    const { posts } = await api("GET", `/api/posts?limit=${PAGE}&before=${before}`);
    if (this.#oldest !== before) return; // the list was begun anew
    this.#oldest = posts.length < PAGE ? 0 : posts.at(-1).id;
    this.#show(posts, asked);
    this.#posts.get(posts[0]?.id)?.toggle.focus(); // the button may have gone
  }

  #show(posts, asked) {
    posts.forEach((post) => this.add(post, asked));
    $("more").hidden = this.#oldest === 0;
    $("empty").hidden = this.#posts.size > 0;
  }

  // add shows a post, newest first, or its state in an answer.
  add(post, asked) {
    $("empty").hidden = true;
    if (this.#posts.has(post.id)) return this.#posts.get(post.id).update(post, asked);
    const view = new PostView(post, this, asked);
    const older = Math.max(...[...this.#posts.keys()].filter((id) => id < post.id));
    $("posts").insertBefore(view.node, this.#posts.get(older)?.node ?? null);
    this.#posts.set(post.id, view);
  }

  // show opens a post, which may not be in the list, or with null closes the one that
  // is open. The stream is opened anew, with or without the post's topic, from where it
  // was; so nothing is missed in between. It returns the post, unless another was asked
  // for meanwhile.
  async show(id) {
    const turn = ++this.#turn;
    if (id !== null && !this.#posts.has(id)) {
      const asked = askedNow();
      const post = await api("GET", `/api/posts/${id}`);
      if (turn !== this.#turn) return null;
      this.add(post, asked);
    }
    this.open?.expand(false);
    this.open = id === null ? null : this.#posts.get(id);
    this.opened(id);
    this.open?.expand(true);
    await this.open?.refresh();
    return turn === this.#turn ? this.open : null;
  }

  async refresh(id) { await this.#posts.get(id)?.refresh(); }

  // arrived takes a post as it was when it was new. Of one that is shown already an
  // answer may have said more, and one below the list will be listed in its place.
  arrived(post) { if (!this.#posts.has(post.id) && post.id > this.#oldest) this.add(post, 0); }

  commented(comment) { this.#posts.get(comment.post_id)?.commented(comment); }
}
