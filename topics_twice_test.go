package ginsse_test

import "testing"

// A topic that was granted twice is read once, and one revocation takes it away.
func TestRevocationEndsATopicThatWasGrantedTwice(t *testing.T) {
	t.Parallel()
	a, stream := grantAgain(t)
	for stream.Next().Data != "2" {
	}
	// The stream is at rest after this.
	send(t, a, "alice", 4)
	for stream.Next().Data != "4" {
	}
	check(t, a.Revoke(t.Context(), "alice", "board"))
	publish(t, a, "board", 5)
	send(t, a, "alice", 6)
	for e := stream.Next(); e.Data != "6"; e = stream.Next() {
		if e.Data == "5" {
			t.Fatal("got an event of the topic from after the revocation")
		}
	}
}
