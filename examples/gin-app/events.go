package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// The types of the events that this application sends. ginsse adds its own, which begin with
// "sse.". The first two are also the types of notifications.
const (
	eventComment     = "comment"      // to the author of a post: notificationData
	eventReaction    = "reaction"     // to the author of a post: notificationData
	eventUnread      = "unread"       // to all tabs of a user, the newest only: readState
	eventPost        = "post"         // to topic "feed": post
	eventPostComment = "post.comment" // to topic "post:ID": comment
	eventTyping      = "typing"       // to topic "post:ID", for now only: typist
	eventMaintenance = "maintenance"  // to everybody, the newest only: banner
)

// lookupTimeout is the time limit for reading an account when a stream opens.
const lookupTimeout = 5 * time.Second

// feedTopic is the topic of new posts.
const feedTopic = "feed"

// postPrefix and the ID of a post make the topic of those who have it open: new comments, who is
// reading, and who is typing.
const postPrefix = "post:"

func postTopic(id int64) string { return postPrefix + strconv.FormatInt(id, 10) }

// events serves the event stream of the signed-in user. The page names topics with ?topic= and
// changes them by POST /events; allowTopic checks both. The user is present at the posts that the
// stream reads. A page that opens gets the badge and the banner, which are events with a key.
func (a *app) events(c *gin.Context) {
	reader := gin.H{"name": currentUser(c).Name}
	present := func(topic string) any {
		if strings.HasPrefix(topic, postPrefix) {
			return reader
		}
		return nil // the feed does not show who reads it
	}
	_ = a.registry.Serve(c, ginsse.WithLatest(), ginsse.WithPresence(present)) // the client has its response, and the registry logs the error
}

// allowTopic reports whether a stream may read a topic: "feed", or "post:ID" of a post that exists.
//
// The registry leaves out the others. All tabs of a browser share one stream, which has the topics
// of all of them. If one old page asked for a post that is gone, a refusal would end the stream of
// every tab.
func (a *app) allowTopic(c *gin.Context, topic string) (bool, error) {
	if topic == feedTopic {
		return true, nil
	}
	id, err := postID(strings.TrimPrefix(topic, postPrefix))
	if err != nil || topic != postTopic(id) {
		return false, nil //nolint:nilerr // it is not the topic of a post
	}
	return a.store.PostExists(c.Request.Context(), id)
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
