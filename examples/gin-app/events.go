package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// The types of the events that this application sends. ginsse adds its own, which begin with
// "sse.". The first two are also the types of notifications.
const (
	eventComment           = "comment"            // to the author of a post: notificationData
	eventReaction          = "reaction"           // to the author of a post: notificationData
	eventPost              = "post"               // to topic "feed": post
	eventPostComment       = "post.comment"       // to topic "post:ID": comment
	eventNotificationsRead = "notifications.read" // to all tabs of a user: readState
)

// lookupTimeout is the time limit for reading an account when a stream opens.
const lookupTimeout = 5 * time.Second

// feedTopic is the topic of new posts.
const feedTopic = "feed"

// postTopic is the topic of new comments on a post.
func postTopic(id int64) string { return "post:" + strconv.FormatInt(id, 10) }

// events serves the event stream of the signed-in user. ?feed=true adds new posts, and
// ?post=ID adds new comments on that post.
//
// The client chooses the topics, so check them before you pass them to [ginsse.WithTopics]: here,
// that the post exists.
func (a *app) events(c *gin.Context) {
	var options []ginsse.ServeOption
	if c.Query("feed") == "true" {
		options = append(options, ginsse.WithTopics(feedTopic))
	}
	if value, asked := c.GetQuery("post"); asked {
		id, err := postID(value)
		has := false
		if err == nil {
			has, err = a.store.HasPost(c.Request.Context(), id)
		}
		if err == nil && !has {
			err = errPostNotFound
		}
		if err != nil {
			fail(c, err)
			return
		}
		options = append(options, ginsse.WithTopics(postTopic(id)))
	}
	_ = a.registry.Serve(c, options...) // the client has its response, and the registry logs the error
}

// streamOpened closes a stream whose user signed out while it was being opened. Such a stream
// passed requireSession before the sign-out, and joined the registry after Disconnect had
// looked for it. The registry calls streamOpened on its own goroutine for each stream.
func (a *app) streamOpened(s *ginsse.Stream) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	acc, err := a.store.Account(ctx, s.UserID())
	switch {
	case errors.Is(err, errNoSuchUser), err == nil && !a.sessions.accepts(acc, s.Expiry()):
		s.Disconnect(reasonSignedOut)
	case err != nil: // the account is unknown, so the client must reconnect and try again
		a.logger.LogAttrs(ctx, slog.LevelWarn, "reading the account of a new stream; its client will reconnect", slog.Any("error", err))
		s.Disconnect(ginsse.ReasonOverloaded)
	}
}
