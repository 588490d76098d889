package main

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

const (
	maxBannerRunes = 200
	maxMinutes     = 60 // the log keeps events for an hour
)

// banner is an announcement that all pages show until a time. Without a text there is none.
type banner struct {
	Text  string    `json:"text"`
	Until time.Time `json:"until,omitzero"`
}

// requireAdmin is a middleware behind requireSession. It refuses users who are not administrators.
func (a *app) requireAdmin(c *gin.Context) {
	if !slices.Contains(a.admins, ginsse.UserID(c)) {
		fail(c, errNotAdmin)
	}
}

// announceMaintenance shows a banner on all pages, in place of an earlier one. Pages that open later
// get it too, because the log keeps the newest event with this key until its TTL has passed.
func (a *app) announceMaintenance(c *gin.Context) {
	var given struct {
		Text    string `json:"text"`
		Minutes int    `json:"minutes"`
	}
	err := readJSON(c, &given)
	if err == nil {
		given.Text, err = requiredText("text", given.Text, maxBannerRunes)
	}
	if err == nil && (given.Minutes < 1 || given.Minutes > maxMinutes) {
		err = invalid("minutes must be an integer from 1 to %d", maxMinutes)
	}
	if err != nil {
		fail(c, err)
		return
	}
	ttl := time.Duration(given.Minutes) * time.Minute
	announced := banner{given.Text, now().Add(ttl)}
	if err := a.sendBanner(c.Request.Context(), announced, ttl); err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, announced)
}

// endMaintenance hides the banner on all pages before its time.
func (a *app) endMaintenance(c *gin.Context) {
	if err := a.sendBanner(c.Request.Context(), banner{}, 0); err != nil {
		fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

func (a *app) sendBanner(ctx context.Context, b banner, ttl time.Duration) error {
	_, err := a.registry.Broadcast(ctx, ginsse.Event{Type: eventMaintenance, Key: eventMaintenance, Data: b, TTL: ttl})
	return err
}
