// The bell: what concerns the person, and what of it is unread.

import { api } from "./api.js";
import { $, dismiss, element, time, toast } from "./dom.js";
import { icon, KINDS } from "./icon.js";
import { once } from "./work.js";

const KEPT = 200; // as many as the server keeps

// An Inbox calls show(notification) when a notification was chosen, and attempt(action) for
// what the person has asked for.
//
// What there is and what is read come from answers and from events, in any order:
// notifications are kept by their ID, and what is read is all up to the highest ID
// that anybody has said.
export class Inbox {
  #list = new Map(); // {notice, row} by ID
  #readThrough = 0;

  constructor({ show, attempt }) {
    this.show = show;
    const read = once(() => attempt(async () => {
      if (this.#unread() > 0) this.markRead((await api("POST", "/api/notifications/read", { up_to: Math.max(...this.#list.keys()) })).up_to);
    }));
    $("read").addEventListener("click", read);
  }

  clear() {
    this.#list.clear();
    this.#readThrough = 0;
    $("notifications").replaceChildren();
    $("inbox").hidePopover();
    this.#render();
  }

  // refetch asks for all there is, and says whether any was missing.
  async refetch() {
    const { notifications, read_through: readThrough } = await api("GET", "/api/notifications");
    const missing = notifications.filter((one) => this.#add(one));
    this.markRead(readThrough);
    return missing.length > 0;
  }

  // arrived takes what the stream has brought, and says so if it is new to the person.
  arrived(notice) {
    if (!this.#add(notice)) return;
    this.#render();
    if (notice.id > this.#readThrough) toast(describe(notice), { act: () => this.show(notice), tag: notice.id });
  }

  markRead(upTo) {
    this.#readThrough = Math.max(this.#readThrough, upTo);
    dismiss((tag) => tag <= this.#readThrough);
    this.#render();
  }

  // add puts a notification in its place among the rows, which stay what they are:
  // one of them may have the focus. It says whether the notification was missing.
  #add(notice) {
    if (this.#list.has(notice.id)) return false;
    const [what, where] = describe(notice);
    const button = element("button", { type: "button" }, what, element("span", { className: "line" }, where, time(notice.created_at)));
    button.addEventListener("click", () => {
      dismiss((tag) => tag === notice.id);
      $("inbox").hidePopover();
      this.show(notice);
    });
    const row = element("li", {}, button);
    const older = Math.max(...[...this.#list.keys()].filter((id) => id < notice.id));
    $("notifications").insertBefore(row, this.#list.get(older)?.row ?? null);
    this.#list.set(notice.id, { notice, row });
    if (this.#list.size > KEPT) {
      const oldest = Math.min(...this.#list.keys());
      this.#list.get(oldest).row.remove();
      this.#list.delete(oldest);
    }
    return true;
  }

  #unread() { return [...this.#list.keys()].filter((id) => id > this.#readThrough).length; }

  #render() {
    const unread = this.#unread();
    for (const [id, { row }] of this.#list) row.className = id > this.#readThrough ? "unread" : "";
    $("nothing").hidden = this.#list.size > 0;
    $("unread").textContent = unread > 99 ? "99+" : unread;
    $("unread").hidden = unread === 0;
    $("bell").ariaLabel = unread === 0 ? "Notifications" : `Notifications, ${unread} unread`;
    $("read").ariaDisabled = String(unread === 0); // not disabled: it may have the focus
    document.title = unread > 0 ? `(${unread}) gin-app` : "gin-app";
  }
}

// describe returns two elements: what has happened, and to which post.
function describe({ type, actor, body, kind, post_excerpt: excerpt }) {
  const what = type === "comment" ? [`${actor.name} commented: ${body}`]
    : [`${actor.name} reacted: `, ...(KINDS.includes(kind) ? [icon(kind)] : []), kind];
  return [element("span", { className: "brief" }, ...what), element("span", { className: "where" }, `on “${excerpt}”`)];
}
