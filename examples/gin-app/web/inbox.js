// The bell: the user's notifications, and how many of them are unread.

import { api } from "./api.js";
import { $, dismiss, element, time, toast } from "./dom.js";
import { icon, KINDS } from "./icon.js";
import { ignoreWhileBusy } from "./work.js";

const MAX_NOTIFICATIONS = 200; // the server keeps as many
const NOTHING = { unread: 0, up_to: 0, newest: 0 };

// Inbox is the list of notifications. It calls show(notification) when the user chooses one, and
// attempt(action) for an action of the user.
//
// Responses and events may arrive in any order. So Inbox keeps notifications by their ID, and the
// newest read state.
export class Inbox {
  #entries = new Map(); // {notification, row} by ID
  #state = NOTHING;

  constructor({ show, attempt }) {
    this.show = show;
    const read = ignoreWhileBusy(() => attempt(async () => {
      if (this.#state.unread > 0) this.setReadState(await api("POST", "/api/notifications/read", { up_to: Math.max(0, ...this.#entries.keys()) }));
    }));
    $("mark-read").addEventListener("click", read);
  }

  clear() {
    this.#entries.clear();
    this.#state = NOTHING;
    $("notifications").replaceChildren();
    $("inbox").hidePopover();
    this.#render();
  }

  // refetch gets all notifications. It returns whether the list lacked any of them.
  async refetch() {
    const { notifications, ...state } = await api("GET", "/api/notifications");
    const missing = notifications.filter((one) => this.#add(one));
    this.setReadState(state);
    this.#render();
    return missing.length > 0;
  }

  // arrived adds a notification from an event. It shows a toast if the notification is unread.
  arrived(notification) {
    if (!this.#add(notification)) return;
    this.#render();
    if (notification.id > this.#state.up_to) toast(describe(notification), { onClick: () => this.show(notification), tag: notification.id });
  }

  // setReadState shows how many notifications are unread, unless it has a newer state. Both IDs of a
  // state only grow.
  setReadState(state) {
    if (state.up_to < this.#state.up_to || state.newest < this.#state.newest) return;
    this.#state = state;
    dismiss((tag) => tag <= state.up_to);
    this.#render();
  }

  // add inserts the row of a notification. It keeps the other rows, because one may have the
  // focus. It returns whether the list lacked the notification.
  #add(notification) {
    if (this.#entries.has(notification.id)) return false;
    const [what, where] = describe(notification);
    const button = element("button", { type: "button" }, what, element("span", { className: "line" }, where, time(notification.created_at)));
    button.addEventListener("click", () => {
      dismiss((tag) => tag === notification.id);
      $("inbox").hidePopover();
      this.show(notification);
    });
    const row = element("li", {}, button);
    const older = Math.max(...[...this.#entries.keys()].filter((id) => id < notification.id));
    $("notifications").insertBefore(row, this.#entries.get(older)?.row ?? null);
    this.#entries.set(notification.id, { notification, row });
    if (this.#entries.size > MAX_NOTIFICATIONS) {
      const oldest = Math.min(...this.#entries.keys());
      this.#entries.get(oldest).row.remove();
      this.#entries.delete(oldest);
    }
    return true;
  }

  #render() {
    const { unread, up_to: readThrough } = this.#state;
    for (const [id, { row }] of this.#entries) row.className = id > readThrough ? "unread" : "";
    $("inbox-empty").hidden = this.#entries.size > 0;
    $("unread").textContent = unread > 99 ? "99+" : unread;
    $("unread").hidden = unread === 0;
    $("bell").ariaLabel = unread === 0 ? "Notifications" : `Notifications, ${unread} unread`;
    $("mark-read").ariaDisabled = String(unread === 0); // a disabled button would lose the focus
    document.title = unread > 0 ? `(${unread}) gin-app` : "gin-app";
  }
}

// describe returns two elements: what happened, and to which post.
function describe({ type, actor, body, kind, post_excerpt: excerpt }) {
  const what = type === "comment" ? [`${actor.name} commented: ${body}`]
    : [`${actor.name} reacted: `, ...(KINDS.includes(kind) ? [icon(kind)] : []), kind];
  return [element("span", { className: "brief" }, ...what), element("span", { className: "where" }, `on “${excerpt}”`)];
}
