// The bell: what concerns the person, and what of it is unread.

import { api } from "./api.js";
import { $, element, time, toast } from "./dom.js";
import { KINDS } from "./feed.js";

// An Inbox calls show(postID) when a notification was chosen, and attempt(action) for
// what the person has asked for.
export class Inbox {
  #list = new Map(); // by ID

  constructor({ show, attempt }) {
    this.show = show;
    $("read").addEventListener("click", () => attempt(async () => {
      this.markRead((await api("POST", "/api/notifications/read", { up_to: Math.max(...this.#list.keys()) })).up_to);
    }));
  }

  clear() {
    this.#list.clear();
    $("inbox").hidePopover();
    this.#render();
  }

  // refetch gets all. What the stream has brought meanwhile may be newer than the
  // answer, so that only adds.
  async refetch() {
    for (const one of (await api("GET", "/api/notifications")).notifications) {
      this.#list.set(one.id, { ...one, read: one.read || Boolean(this.#list.get(one.id)?.read) });
    }
    this.#render();
  }

  // arrived takes what the stream has brought, and says so unless it is known.
  arrived(notice) {
    if (this.#list.has(notice.id)) return;
    this.#list.set(notice.id, { ...notice, read: false });
    this.#render();
    toast(describe(notice), () => this.show(notice.post_id));
  }

  markRead(upTo) {
    for (const one of this.#list.values()) if (one.id <= upTo) one.read = true;
    this.#render();
  }

  #render() {
    const list = [...this.#list.values()].sort((a, b) => b.id - a.id);
    const unread = list.filter((one) => !one.read).length;
    $("notifications").replaceChildren(...list.map((one) => {
      const button = element("button", { type: "button" }, describe(one), " ", time(one.created_at));
      button.addEventListener("click", () => { $("inbox").hidePopover(); this.show(one.post_id); });
      return element("li", { className: one.read ? "" : "unread" }, button);
    }));
    $("nothing").hidden = list.length > 0;
    $("unread").textContent = unread > 99 ? "99+" : unread;
    $("unread").hidden = unread === 0;
    $("bell").ariaLabel = unread === 0 ? "Notifications" : `Notifications, ${unread} unread`;
    $("read").disabled = unread === 0;
    document.title = unread > 0 ? `(${unread}) gin-app` : "gin-app";
  }
}

function describe(notice) {
  return notice.type === "comment"
    ? `${notice.actor.name} commented: ${notice.body}`
    : `${notice.actor.name} reacted: ${KINDS[notice.kind] ?? notice.kind}`;
}
