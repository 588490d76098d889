package main

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// listNotifications answers with the newest first: all that are kept, or with
// ?after=ID those that a client which has that one has missed.
func (a *app) listNotifications(c *gin.Context) {
	after, err := queryInt(c, "after", 0, 0)
	if err != nil {
		fail(c, err)
		return
	}
	list, state, err := a.store.Notifications(c.Request.Context(), ginsse.UserID(c), after)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"notifications": list, "read_through": state.UpTo, "unread": state.Unread})
}

// readNotifications marks as read what is at or below up_to, and tells the
// person's other tabs, if that has changed anything.
func (a *app) readNotifications(c *gin.Context) {
	var given struct {
		UpTo *int64 `json:"up_to"`
	}
	if err := readJSON(c, &given); err != nil {
		fail(c, err)
		return
	}
	if given.UpTo == nil || *given.UpTo < 0 {
		fail(c, invalid("up_to is not the ID of a notification"))
		return
	}
	ctx, id := c.Request.Context(), ginsse.UserID(c)
	state, changed, err := a.store.ReadNotifications(ctx, id, *given.UpTo)
	if err != nil {
		fail(c, err)
		return
	}
	if changed {
		ctx, cancel := toSend(c)
		defer cancel()
		_, err := a.registry.SendTo(ctx, id, ginsse.Event{Type: eventNotificationsRead, Data: state})
		a.logSend(ctx, eventNotificationsRead, err)
	}
	c.JSON(http.StatusOK, state)
}
