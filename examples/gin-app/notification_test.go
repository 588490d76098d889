package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/sqllog"
	"github.com/ginsse/ginsse/ssetest"
)

func TestNotificationsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	path, _ := alice.post("a post")
	for i := range 3 {
		bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{fmt.Sprint(i)})
	}
	list, unread := alice.inbox()
	if len(list) != 3 || unread != 3 || list[0].Body != "2" || list[0].ID <= list[2].ID {
		t.Fatalf("list is %+v, unread %d", list, unread)
	}
	if list[0].Type != "comment" || list[0].Read || list[0].Actor != bob.user {
		t.Errorf("the newest is %+v", list[0])
	}
	answer := alice.want(http.StatusOK, "GET", fmt.Sprint("/api/notifications?after=", list[1].ID), nil)
	got := read[inboxAnswer](answer)
	if len(got.Notifications) != 1 || got.Notifications[0] != list[0] || got.Unread != 3 {
		t.Errorf("after the second: %s", answer.body)
	}
	none := bob.want(http.StatusOK, "GET", "/api/notifications", nil)
	if string(none.body) != `{"notifications":[],"unread":0,"up_to":0,"newest":0}` {
		t.Errorf("bob has %s", none.body)
	}
}

func TestMarkingAsReadUpdatesOtherTabs(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	path, _ := alice.post("a post")
	for i := range 3 {
		bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{fmt.Sprint(i)})
	}
	list, _ := alice.inbox()
	otherTab := alice.open("/events")
	wantUnread(t, otherTab, readState{Unread: 3, Newest: list[0].ID}) // what is true when it opens

	readUpTo := func(id int64) readState {
		return read[readState](alice.want(http.StatusOK, "POST", "/api/notifications/read", map[string]int64{"up_to": id}))
	}
	want := readState{UpTo: list[1].ID, Unread: 1, Newest: list[0].ID}
	if got := readUpTo(list[1].ID); got != want {
		t.Errorf("state is %+v, want %+v", got, want)
	}
	inbox := read[inboxAnswer](alice.want(http.StatusOK, "GET", "/api/notifications", nil))
	if inbox.readState != want {
		t.Errorf("the list says %+v, want %+v", inbox.readState, want)
	}
	wantUnread(t, otherTab, want)
	readUpTo(list[2].ID) // less than is read: no news
	readUpTo(1 << 40)    // more than there is: all there is
	wantUnread(t, otherTab, readState{UpTo: list[0].ID, Newest: list[0].ID})
	bob.want(http.StatusCreated, "POST", path+"/comments", textRequest{"later"})
	list, unread := alice.inbox()
	if unread != 1 || list[0].Read || !list[1].Read {
		t.Errorf("%d unread after one more: %+v", unread, list)
	}
	wantUnread(t, otherTab, readState{Unread: 1, UpTo: list[1].ID, Newest: list[0].ID})
}

// wantUnread reads a stream until the badge and checks it.
func wantUnread(t *testing.T, stream *ssetest.Stream, want readState) {
	t.Helper()
	event := stream.NextOf("unread")
	if got := parse[readState](t, []byte(event.Data)); got != want {
		t.Errorf("the badge is %+v, want %+v", got, want)
	}
	wantKeys(t, event.Data, "up_to", "unread", "newest")
}

// Requests at the same time change the badge. In a log that is in the database its versions only grow.
// The last one is true.
func TestBadgeIsInOrder(t *testing.T) {
	t.Parallel()
	eachKindOfNodes(t, func(t *testing.T, first, second *site) {
		alice, bob := first.signedIn("alice"), second.signedIn("bob")
		stream := alice.open("/events")
		var wg sync.WaitGroup
		const comments = 20
		for i := range comments {
			wg.Go(func() {
				bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{fmt.Sprint(i)})
				if i%4 == 0 {
					alice.want(http.StatusOK, "POST", "/api/notifications/read", map[string]int64{"up_to": int64(i)})
				}
			})
		}
		wg.Wait()
		// A log that is not in the database may have the events of those in another order, and keeps only
		// the last badge. This one is the last in each log.
		bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"the last one"})
		want := read[inboxAnswer](alice.want(http.StatusOK, "GET", "/api/notifications", nil)).readState
		_, inDatabase := first.app.log.(*sqllog.Log)
		for shown := (readState{}); shown != want; {
			got := parse[readState](t, []byte(stream.NextOf("unread").Data))
			switch older := got.UpTo < shown.UpTo || got.Newest < shown.Newest; {
			case older && inDatabase:
				t.Errorf("%+v came after %+v", got, shown)
			case !older:
				shown = got
			}
		}
	})
}

// A page that opens gets the newest badge, and not those before it.
func TestNewPageGetsTheNewestBadge(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	for i := range 3 {
		bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{fmt.Sprint(i)})
	}
	list, _ := alice.inbox()
	stream := alice.open("/events")
	wantUnread(t, stream, readState{Unread: 3, Newest: list[0].ID})
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"one more"})
	list, _ = alice.inbox()
	wantUnread(t, stream, readState{Unread: 4, Newest: list[0].ID})
}

func TestInboxKeepsNewestNotifications(t *testing.T) {
	t.Parallel()
	s, alice, bob, _ := demo(t)
	_, id := alice.post("a busy post")
	for i := range maxNotifications + 5 {
		if _, err := s.app.store.AddComment(t.Context(), id, bob.user.ID, fmt.Sprint(i), ""); err != nil {
			t.Fatal(err)
		}
	}
	list, unread := alice.inbox()
	if len(list) != maxNotifications || unread != maxNotifications || list[0].Body != fmt.Sprint(maxNotifications+4) {
		t.Errorf("%d notifications, %d unread, the newest %+v", len(list), unread, list[0])
	}
}

func TestNotificationHasAnExcerptOfItsPost(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, want string }{
		"short":         {"Found a bakery.", "Found a bakery."},
		"several_lines": {"One\n\n  two\tthree ", "One two three"},
		"just_fits":     {strings.Repeat("ä", maxExcerptRunes), strings.Repeat("ä", maxExcerptRunes)},
		"long":          {strings.Repeat("ä", maxExcerptRunes+1), strings.Repeat("ä", maxExcerptRunes-1) + "…"},
		"ends_in_space": {strings.Repeat("a", maxExcerptRunes-2) + " and more", strings.Repeat("a", maxExcerptRunes-2) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, alice, bob, _ := demo(t)
			path, _ := alice.post(test.body)
			stream := alice.open("/events")
			bob.want(http.StatusCreated, "POST", path+"/reactions", map[string]string{"kind": "like"})
			if got := parse[notificationData](t, []byte(stream.NextOf("reaction").Data)).PostExcerpt; got != test.want {
				t.Errorf("the event says %q, not %q", got, test.want)
			}
			if list, _ := alice.inbox(); len(list) != 1 || list[0].PostExcerpt != test.want {
				t.Errorf("the list says %+v", list)
			}
		})
	}
}
