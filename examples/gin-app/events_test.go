package main

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

func TestCommentReachesAuthorInEveryTab(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	path, id := alice.post("who is there?")
	tabs := []*ssetest.Stream{alice.open("/events"), alice.open("/events")}

	made := read[comment](bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"me"}))
	list, unread := alice.inbox()
	if len(list) != 1 || unread != 1 {
		t.Fatalf("alice has %d notifications, %d unread", len(list), unread)
	}
	for _, tab := range tabs {
		event := tab.NextOf("comment")
		got := parse[notificationData](t, []byte(event.Data))
		want := notificationData{ID: list[0].ID, PostID: id, PostExcerpt: "who is there?", Actor: bob.user, Body: "me", CreatedAt: made.CreatedAt}
		if got != want {
			t.Errorf("event is %+v, want %+v", got, want)
		}
		wantKeys(t, event.Data, "id", "post_id", "post_excerpt", "actor", "body", "created_at")
	}
}

func TestReactionTwiceNotifiesOnce(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	path, id := alice.post("react!")
	stream := alice.open("/events")

	like := map[string]string{"kind": "like"}
	first := read[reaction](bob.want(http.StatusCreated, "POST", path+"/reactions", like))
	second := read[reaction](bob.want(http.StatusOK, "POST", path+"/reactions", like))
	if first != second {
		t.Errorf("the second answer is %+v, the first %+v", second, first)
	}
	// Removing the reaction and adding it again does not notify either.
	bob.want(http.StatusNoContent, "DELETE", path+"/reactions/like", nil)
	bob.want(http.StatusNoContent, "DELETE", path+"/reactions/like", nil)
	bob.want(http.StatusCreated, "POST", path+"/reactions", like)
	bob.want(http.StatusCreated, "POST", path+"/reactions", map[string]string{"kind": "love"})

	// Events arrive in order: a second "like" would come before "love".
	for _, kind := range []string{"like", "love"} {
		event := stream.NextOf("reaction")
		if got := parse[notificationData](t, []byte(event.Data)); got.Kind != kind || got.PostID != id || got.Actor != bob.user {
			t.Errorf("event is %+v, want a %s", got, kind)
		}
		wantKeys(t, event.Data, "id", "post_id", "post_excerpt", "actor", "kind", "created_at")
	}
	if list, unread := alice.inbox(); len(list) != 2 || unread != 2 {
		t.Errorf("alice has %d notifications, %d unread", len(list), unread)
	}
	seen := read[post](alice.want(http.StatusOK, "GET", path, nil))
	if want := map[string]int{"like": 1, "love": 1, "laugh": 0}; !maps.Equal(seen.Reactions, want) {
		t.Errorf("the post has %v, want %v", seen.Reactions, want)
	}
}

func TestOwnActivityDoesNotNotify(t *testing.T) {
	t.Parallel()
	_, alice, bob, carol := demo(t)
	path, _ := alice.post("a word with myself")
	streams := map[*visitor]*ssetest.Stream{}
	for _, v := range []*visitor{alice, bob, carol} {
		streams[v] = v.open("/events")
	}
	alice.want(http.StatusCreated, "POST", path+"/comments", textRequest{"hello, me"})
	alice.want(http.StatusCreated, "POST", path+"/reactions", map[string]string{"kind": "laugh"})

	// The first event of each user is about what follows, a comment by another user.
	for _, v := range []*visitor{alice, bob, carol} {
		own, _ := v.post("last")
		other := alice
		if v == alice {
			other = bob
		}
		other.want(http.StatusCreated, "POST", own+"/comments", textRequest{"the first notification"})
		if got := parse[notificationData](t, []byte(nextOfApp(streams[v]).Data)); got.Body != "the first notification" {
			t.Errorf("%s got %+v", v.user.Name, got)
		}
		if list, _ := v.inbox(); len(list) != 1 {
			t.Errorf("%s has %d notifications", v.user.Name, len(list))
		}
	}
}

func TestPostTopicReachesStreamsOfThatPost(t *testing.T) {
	t.Parallel()
	_, alice, bob, carol := demo(t)
	path, id := alice.post("look here")
	watching := carol.open("/events?topic=post:" + strconv.FormatInt(id, 10))
	elsewhere := carol.open("/events")

	made := read[comment](bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"seen"}))
	event := nextOfApp(watching)
	if got := parse[comment](t, []byte(event.Data)); event.Type != "post.comment" || got != made {
		t.Errorf("got %s %+v, want %+v", event.Type, got, made)
	}
	wantKeys(t, event.Data, "id", "post_id", "author", "body", "created_at")
	// A comment by the author of the post goes to the topic, too.
	alice.want(http.StatusCreated, "POST", path+"/comments", textRequest{"thank you"})
	if got := parse[comment](t, []byte(nextOfApp(watching).Data)); got.Body != "thank you" {
		t.Errorf("got %+v", got)
	}
	own, _ := carol.post("and here")
	bob.want(http.StatusCreated, "POST", own+"/comments", textRequest{"too"})
	if event := nextOfApp(elsewhere); event.Type != "comment" {
		t.Errorf("a stream without the topic got %s", event.Type)
	}
}

func TestStreamResumesAfterReload(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	path, _ := alice.post("back in a second")
	stream := alice.open("/events")
	stream.NextOf("sse.heartbeat") // it has its position
	position := stream.LastEventID()
	stream.Close()

	bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"while you were away"})
	again := alice.open("/events?lastEventId=" + position)
	if got := again.NextOf("sse.open").Data; !parse[struct{ Resumed bool }](t, []byte(got)).Resumed {
		t.Errorf("sse.open is %s", got)
	}
	if got := parse[notificationData](t, []byte(again.NextOf("comment").Data)); got.Body != "while you were away" {
		t.Errorf("got %+v", got)
	}
}

// A laptop that was closed for a while gets the missed events once and in order, and then new
// ones.
func TestStreamResumesAfterBeingOffline(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	path, _ := alice.post("gone for lunch")
	stream := alice.open("/events")
	bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"seen"})
	position := stream.NextOf("comment").LastEventID
	stream.Close()

	bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"first"})
	bob.want(http.StatusCreated, "POST", path+"/reactions", `{"kind":"love"}`)
	bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"second"})
	again := alice.open("/events", ssetest.LastEventID(position))
	bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"third"})

	list, unread := alice.inbox()
	if len(list) != 5 || unread != 5 {
		t.Fatalf("alice has %d notifications, %d unread", len(list), unread)
	}
	for _, want := range slices.Backward(list[:4]) {
		event := nextOf(again, "comment", "reaction")
		if got := parse[notificationData](t, []byte(event.Data)); event.Type != want.Type || got != want.notificationData {
			t.Errorf("got %s %+v, want %+v", event.Type, got, want)
		}
	}
}

// The page needs the interval to distinguish an idle connection from a dead one.
func TestOpenEventHasTheHeartbeatInterval(t *testing.T) {
	t.Parallel()
	_, alice, _, _ := demo(t)
	opened := alice.open("/events").NextOf("sse.open").Data
	if got := parse[struct{ Heartbeat int64 }](t, []byte(opened)).Heartbeat; got != 15_000 {
		t.Errorf("sse.open is %s", opened)
	}
}

// The event of a committed change is sent even if the client has disconnected.
func TestSendOutlivesItsRequest(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, cfg appConfig) {
		s := newSite(t, cfg)
		stream := s.signedIn("alice").open("/events?topic=feed")
		ctx, disconnect := context.WithCancel(t.Context())
		err := s.app.store.update(ctx, func(ctx context.Context, tx *transaction) error {
			disconnect()
			return tx.events.Publish(ctx, feedTopic, ginsse.Event{Type: eventPost, Data: post{}})
		})
		if err != nil {
			t.Error(err)
		}
		stream.NextOf("post")
	}
	eachDatabase(t, test)
	t.Run("memory", func(t *testing.T) { test(t, appConfig{Demo: true, Database: inMemory}) })
}

// An event is sent with its rows or not at all.
func TestFailedTransactionSendsNothing(t *testing.T) {
	t.Parallel()
	errFails := errors.New("the transaction fails")
	test := func(t *testing.T, cfg appConfig) {
		s := newSite(t, cfg)
		stream := s.signedIn("alice").open("/events?topic=feed")
		for _, fails := range []error{errFails, nil} {
			err := s.app.store.update(t.Context(), func(ctx context.Context, tx *transaction) error {
				err := tx.events.Publish(ctx, feedTopic, ginsse.Event{Type: eventPost, Data: fails == nil})
				return errors.Join(err, fails)
			})
			if !errors.Is(err, fails) {
				t.Errorf("the error is %v, want %v", err, fails)
			}
		}
		if got := stream.NextOf("post").Data; got != "true" {
			t.Errorf("the first event is that of the failed transaction: %s", got)
		}
	}
	eachDatabase(t, test)
	t.Run("memory", func(t *testing.T) { test(t, appConfig{Demo: true, Database: inMemory}) })
}

// The commit stores the event too. So a process that ends just after it loses nothing.
func TestEventOfACommitIsNotLost(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, cfg appConfig) {
		first := newSite(t, cfg)
		alice, bob := first.signedIn("alice"), first.signedIn("bob")
		stream := alice.open("/events")
		stream.NextOf("sse.heartbeat") // it has its position
		position := stream.LastEventID()
		stream.Close()
		if err := first.app.log.Close(); err != nil { // from now on this process sends nothing
			t.Fatal(err)
		}
		bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"the last words"})

		alice.url = newSite(t, cfg).url
		again := alice.open("/events", ssetest.LastEventID(position))
		if got := nextOf(again, "sse.gap", "comment"); got.Type != "comment" || parse[notificationData](t, []byte(got.Data)).Body != "the last words" {
			t.Errorf("got %+v", got)
		}
	})
}

// All tabs of a browser share one stream. A topic that only an old page asks for must not refuse it.
func TestUnknownTopicsAreIgnored(t *testing.T) {
	t.Parallel()
	s, alice, bob, _ := demo(t)
	path, id := alice.post("the newest")
	query := "/events?topic=feed&topic=feed"
	for _, topic := range []string{"post:999", "post:0", "post:-1", "post:x", "post:", "post", "post:01", "Feed", "user:" + alice.user.ID, "command:" + alice.user.ID, strconv.FormatInt(id, 10)} {
		query += "&topic=" + topic
	}
	stream := bob.open(query + "&topic=post:" + strconv.FormatInt(id, 10))
	if opened := s.app.registry.Stats().Opened; opened != 1 {
		t.Errorf("%d streams were opened", opened)
	}
	alice.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"not for bob"})
	alice.want(http.StatusCreated, "POST", path+"/comments", textRequest{"for readers of the post"})
	if event := nextOfApp(stream); event.Type != "post.comment" || parse[comment](t, []byte(event.Data)).Body != "for readers of the post" {
		t.Errorf("got %s %s", event.Type, event.Data)
	}
	alice.post("for the feed")
	if event := nextOfApp(stream); event.Type != "post" {
		t.Errorf("got %s %s", event.Type, event.Data)
	}
}

// nextOf returns the next event of one of the types.
func nextOf(s *ssetest.Stream, types ...string) ssetest.Event {
	for {
		if e := s.Next(); slices.Contains(types, e.Type) {
			return e
		}
	}
}

// nextOfApp returns the next event that is not the kit's.
func nextOfApp(s *ssetest.Stream) ssetest.Event {
	for {
		if e := s.Next(); e.Type[:4] != "sse." {
			return e
		}
	}
}

func wantKeys(t *testing.T, text string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(keys(t, []byte(text)))); !slices.Equal(got, want) {
		t.Errorf("keys are %q, want %q", got, want)
	}
}

func TestNewPostsGoToStreamsOfTheFeed(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	withFeed, without := alice.open("/events?topic=feed"), alice.open("/events")
	posted := bob.with("Idempotency-Key", "one").want(http.StatusCreated, "POST", "/api/posts", textRequest{"hello"})
	bob.with("Idempotency-Key", "one").want(http.StatusCreated, "POST", "/api/posts", textRequest{"hello"}) // sent once
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"the end"})
	if got := withFeed.NextOf("post"); got.Data != string(posted.body) {
		t.Errorf("got %s, posted %s", got.Data, posted.body)
	}
	for _, stream := range []*ssetest.Stream{withFeed, without} {
		for {
			got := stream.Next()
			if got.Type == "comment" {
				break
			}
			if got.Type == "post" {
				t.Errorf("got %s", got.Data)
			}
		}
	}
}
