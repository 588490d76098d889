// The list of posts. A response and an event may bring the same post, in any order. So the list
// keeps posts by their ID.

import { api } from "./api.js";
import { $ } from "./dom.js";
import { connectTextForm } from "./form.js";
import { PostView } from "./post.js";
import { ignoreWhileBusy, nextRequestNumber } from "./work.js";

const PAGE = 20;

// Feed is the list of posts. One post may be open, with its comments. Feed calls opened(id or
// null) when another post is opened or closed, typed(id) while the user writes a comment, and
// attempt(action) for an action of the user.
export class Feed {
  #posts = new Map(); // PostView by ID
  #newest = 0;
  #oldest = Infinity; // the list has no holes down to this ID; an opened post may be older
  #lastShow = 0; // number of the last call of show
  open = null; // PostView
  viewer = ""; // ID of the signed-in user

  constructor({ opened, typed, attempt }) {
    Object.assign(this, { opened, typed, attempt });
    $("more").addEventListener("click", ignoreWhileBusy(() => attempt(() => this.#older())));
    connectTextForm($("new-post"), attempt, async (body, key) =>
      this.arrived(await api("POST", "/api/posts", { body }, { "Idempotency-Key": key })));
  }

  clear() {
    this.open = null;
    this.#lastShow++;
    this.#newest = 0;
    this.#oldest = Infinity;
    this.#posts.clear();
    $("posts").replaceChildren();
    $("more").hidden = true;
  }

  // refetch gets the newest posts, and the open post with its comments. If there are posts between
  // the newest ones and the list, it removes the list, which would otherwise have a hole. The
  // user can load those posts again with "Older posts".
  async refetch() {
    const requestNumber = nextRequestNumber();
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
    this.#show(posts, requestNumber);
    await this.open?.refresh();
  }

  async #older() {
    const before = this.#oldest;
    const requestNumber = nextRequestNumber();
    const { posts } = await api("GET", `/api/posts?limit=${PAGE}&before=${before}`);
    if (this.#oldest !== before) return; // refetch has replaced the list
    this.#oldest = posts.length < PAGE ? 0 : posts.at(-1).id;
    this.#show(posts, requestNumber);
    this.#posts.get(posts[0]?.id)?.toggle.focus(); // the button may be hidden now
  }

  #show(posts, requestNumber) {
    posts.forEach((post) => this.add(post, requestNumber));
    $("more").hidden = this.#oldest === 0;
    $("empty").hidden = this.#posts.size > 0;
  }

  // add puts a post in its place in the list, or updates it.
  add(post, requestNumber) {
    $("empty").hidden = true;
    if (this.#posts.has(post.id)) return this.#posts.get(post.id).update(post, requestNumber);
    const view = new PostView(post, this, requestNumber);
    const older = Math.max(...[...this.#posts.keys()].filter((id) => id < post.id));
    $("posts").insertBefore(view.node, this.#posts.get(older)?.node ?? null);
    this.#posts.set(post.id, view);
  }

  // show opens a post, which need not be in the list, and closes the one that is open. With null
  // it only closes. show returns the post, or null if another call of show followed.
  async show(id) {
    const call = ++this.#lastShow;
    if (id !== null && !this.#posts.has(id)) {
      const requestNumber = nextRequestNumber();
      const post = await api("GET", `/api/posts/${id}`);
      if (call !== this.#lastShow) return null;
      this.add(post, requestNumber);
    }
    this.open?.expand(false);
    this.open = id === null ? null : this.#posts.get(id);
    this.opened(id);
    this.open?.expand(true);
    await this.open?.refresh();
    return call === this.#lastShow ? this.open : null;
  }

  async refresh(id) { await this.#posts.get(id)?.refresh(); }

  // arrived adds a new post from an event. It ignores a post that is in the list, because a
  // response may have newer counts. It also ignores one older than the list.
  arrived(post) { if (!this.#posts.has(post.id) && post.id > this.#oldest) this.add(post, 0); }

  // commented adds a comment from an event to the post that is open. The comment may be on another
  // post, which is open in another tab.
  commented(comment) { if (this.open?.id === comment.post_id) this.open.commented(comment); }

  // typing shows that a user is writing a comment. The user may be the viewer, on another device.
  typing({ post_id: post, user }) { if (this.open?.id === post && user.id !== this.viewer) this.open.typing(user); }
}
