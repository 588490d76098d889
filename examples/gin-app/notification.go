package main

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// listNotifications answers with the notifications of the user, newest first. With ?after=ID
// it answers only with those that are newer than that one.
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
	c.JSON(http.StatusOK, struct {
		Notifications []notification `json:"notifications"`
		readState
	}{list, state})
}

// readNotifications marks all notifications up to the ID up_to as read.
func (a *app) readNotifications(c *gin.Context) {
	var given struct {
		UpTo *int64 `json:"up_to"`
	}
	if err := readJSON(c, &given); err != nil {
		fail(c, err)
		return
	}
	if given.UpTo == nil || *given.UpTo < 0 {
		fail(c, invalid("up_to must be the ID of a notification: an integer of 0 or more"))
		return
	}
	state, err := a.store.ReadNotifications(c.Request.Context(), ginsse.UserID(c), *given.UpTo)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, state)
}
