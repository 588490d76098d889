package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
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

// maxTopics is how many topics a stream can have. ginsse refuses more.
const maxTopics = 64

// feedTopic is the topic of new posts.
const feedTopic = "feed"

// postPrefix and the ID of a post make the topic of new comments on it.
const postPrefix = "post:"

func postTopic(id int64) string { return postPrefix + strconv.FormatInt(id, 10) }

// events serves the event stream of the signed-in user. Each ?topic= adds a topic: "feed" or
// "post:ID".
//
// The client chooses the topics, so check them before you pass them to [ginsse.WithTopics].
func (a *app) events(c *gin.Context) {
	topics, err := a.knownTopics(c.Request.Context(), c.QueryArray("topic"))
	if err != nil {
		fail(c, err)
		return
	}
	_ = a.registry.Serve(c, ginsse.WithTopics(topics...)) // the client has its response, and the registry logs the error
}

// knownTopics returns those topics of a request that exist, at most maxTopics.
//
// It ignores the others. All tabs of a browser share one stream, which has the topics of all of
// them. If one old page asked for a post that is gone, a refusal would end the stream of every tab.
func (a *app) knownTopics(ctx context.Context, asked []string) ([]string, error) {
	var topics []string
	var posts []int64
	for _, topic := range asked {
		if len(topics)+len(posts) == maxTopics {
			break
		}
		if topic == feedTopic && !slices.Contains(topics, feedTopic) {
			topics = append(topics, feedTopic)
		}
		text, isPost := strings.CutPrefix(topic, postPrefix)
		id, err := postID(text)
		if isPost && err == nil && !slices.Contains(posts, id) {
			posts = append(posts, id)
		}
	}
	posts, err := a.store.KnownPosts(ctx, posts)
	for _, id := range posts {
		topics = append(topics, postTopic(id))
	}
	return topics, err
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
