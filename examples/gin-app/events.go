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

// The types of the events that this application sends, beside the kit's own. The
// first two are also those of notifications.
const (
	eventComment           = "comment"            // to a post's author: a notice
	eventReaction          = "reaction"           // to a post's author: a notice
	eventPost              = "post"               // to who looks at the feed: a post
	eventPostComment       = "post.comment"       // to who looks at a post: a comment
	eventNotificationsRead = "notifications.read" // to a person's own tabs: a readState
)

// lookTime is how long a look at the database may take.
const lookTime = 5 * time.Second

// feedTopic is the topic of new posts.
const feedTopic = "feed"

// postTopic is the topic of what happens at a post.
func postTopic(id int64) string { return "post:" + strconv.FormatInt(id, 10) }

// events serves the event stream of the person: what is sent to them, with ?feed=true
// new posts, and with ?post=ID what happens at that post. A topic comes from the
// request, so it is granted only after a look at what it names.
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
	_ = a.registry.Serve(c, options...) // the client has been told; the registry logs
}

// streamOpened ends a stream whose person signed out while it was being opened:
// after admit had let it through, and before Disconnect could find it. It runs
// on a goroutine of its own.
func (a *app) streamOpened(s *ginsse.Stream) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	who, err := a.store.Account(ctx, s.UserID())
	switch {
	case errors.Is(err, errNoSuchUser), err == nil && a.sessions.refuses(who, s.Expiry()):
		s.Disconnect(reasonSignedOut)
	case err != nil: // nothing is known: the client comes back
		a.logger.LogAttrs(ctx, slog.LevelWarn, "looking at who has opened a stream", slog.Any("error", err))
		s.Disconnect(ginsse.ReasonOverloaded)
	}
}

// tellTime is how long the answer to a request waits for what it has caused to be sent.
const tellTime = 2 * time.Second

// toSend returns a context for that: what was committed is sent, also when who has caused
// it hangs up.
func toSend(c *gin.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.Request.Context()), tellTime)
}

// sendNotification tells a person of a notification that the store holds by now. nil,
// of what concerns nobody else, is nothing to tell.
//
// An error is only logged. What was asked for is done, and the notification is
// in the store, where the page finds it the next time it looks: an event says
// that there is something new, and the store says what is true.
func (a *app) sendNotification(ctx context.Context, n *notification) {
	if n == nil {
		return
	}
	_, err := a.registry.SendTo(ctx, n.Recipient, ginsse.Event{Type: n.Type, Data: n.notice})
	a.logSend(ctx, n.Type, err)
}

// publish is sendNotification for everybody who reads a topic.
func (a *app) publish(ctx context.Context, topic, eventType string, data any) {
	_, err := a.registry.Publish(ctx, topic, ginsse.Event{Type: eventType, Data: data})
	a.logSend(ctx, eventType, err)
}

func (a *app) logSend(ctx context.Context, eventType string, err error) {
	if err != nil {
		a.logger.LogAttrs(ctx, slog.LevelWarn, "sending an event", slog.String("type", eventType), slog.Any("error", err))
	}
}
