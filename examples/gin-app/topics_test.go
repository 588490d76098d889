package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/ssetest"
)

// streamID reads a stream until it is open, and returns its ID.
func streamID(t *testing.T, stream *ssetest.Stream) string {
	t.Helper()
	return parse[struct{ Stream string }](t, []byte(stream.NextOf("sse.open").Data)).Stream
}

// control is the body of a request to POST /events, and of its answer.
type control struct {
	Stream   string   `json:"stream,omitempty"`
	Add      []string `json:"add,omitempty"`
	Remove   []string `json:"remove,omitempty"`
	Accepted []string `json:"accepted,omitempty"`
	Refused  []string `json:"refused,omitempty"`
}

// The topics of an open stream change, and those that the page must not have are refused.
func TestPageChangesTheTopicsOfItsStream(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	stream := bob.open("/events")
	id := streamID(t, stream)
	got := read[control](bob.want(http.StatusAccepted, "POST", "/events", control{Stream: id, Add: []string{"post:1", "post:999", "user:" + alice.user.ID}}))
	if !slices.Equal(got.Accepted, []string{"post:1"}) || len(got.Refused) != 2 {
		t.Errorf("the answer is %+v", got)
	}
	stream.NextOf("sse.topics")
	alice.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"for readers"})
	stream.NextOf("post.comment")

	bob.want(http.StatusAccepted, "POST", "/events", control{Stream: id, Remove: []string{"post:1"}, Add: []string{"feed"}})
	stream.NextOf("sse.topics")
	alice.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"not for bob"})
	alice.post("for the feed")
	if event := nextOfApp(stream); event.Type != "post" {
		t.Errorf("got %s %s", event.Type, event.Data)
	}
	(&visitor{t: t, url: bob.url, client: bob.client}).want(http.StatusUnauthorized, "POST", "/events", control{Stream: id})
}

// member is a user in an event about presence.
type member struct {
	User  string
	Value struct{ Name string }
}

// Readers of a post see each other, on all nodes, and those of the feed do not.
func TestReadersOfAPostSeeEachOther(t *testing.T) {
	t.Parallel()
	eachKindOfNodes(t, func(t *testing.T, first, second *site) {
		alice, bob := first.signedIn("alice"), second.signedIn("bob")
		reading := alice.open("/events?topic=feed&topic=post:1")
		other := bob.open("/events?topic=feed&topic=post:1")
		for {
			event := nextOf(reading, "sse.present", "sse.join")
			got := parse[struct {
				member
				Topic string
				Users []member
			}](t, []byte(event.Data))
			if got.Topic != "post:1" {
				t.Fatalf("somebody is present at %s", got.Topic)
			}
			named := append(got.Users, got.member)
			if at := slices.IndexFunc(named, func(m member) bool { return m.User == bob.user.ID }); at >= 0 {
				if name := named[at].Value.Name; name != "bob" {
					t.Errorf("bob's name is %q", name)
				}
				break
			}
		}
		other.Close()
		if got := parse[member](t, []byte(reading.NextOf("sse.leave").Data)); got.User != bob.user.ID {
			t.Errorf("%s has left", got.User)
		}
	})
}

// Others learn who is typing. The page that causes it does not.
func TestTypingReachesTheOtherReaders(t *testing.T) {
	t.Parallel()
	eachKindOfNodes(t, func(t *testing.T, first, second *site) {
		alice, bob := first.signedIn("alice"), second.signedIn("bob")
		hers, his := alice.open("/events?topic=post:1"), bob.open("/events?topic=post:1")
		id := streamID(t, his)
		hers.NextOf("sse.heartbeat") // it has what comes first; an event that is not kept waits for 5 s at most
		bob.with("Stream-ID", id).want(http.StatusNoContent, "POST", "/api/posts/1/typing", nil)
		if got, want := parse[typist](t, []byte(hers.NextOf("typing").Data)), (typist{1, bob.user}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"done"})
		if event := nextOfApp(his); event.Type != "post.comment" {
			t.Errorf("bob's page got %s", event.Type)
		}
	})
}

func TestTypingIsRefused(t *testing.T) {
	t.Parallel()
	_, alice, _, _ := demo(t)
	alice.want(http.StatusNotFound, "POST", "/api/posts/999/typing", nil)
	wantError(t, alice.with("Stream-ID", strings.Repeat("x", 100)).want(http.StatusBadRequest, "POST", "/api/posts/1/typing", nil), "invalid_request")
}
