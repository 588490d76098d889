package main

import (
	"errors"
	"net/http"
	"path/filepath"
	"testing"
)

func TestDemoListsItsUsersAndPassword(t *testing.T) {
	t.Parallel()
	v := newSite(t, appConfig{Demo: true}).visitor()
	if got := v.want(http.StatusOK, "GET", "/api/demo", nil); string(got.body) != `{"password":"demo","people":["alice","bob","carol"]}` {
		t.Errorf("got %s", got.body)
	}
	if got := newSite(t, appConfig{}).visitor().want(http.StatusOK, "GET", "/api/demo", nil); string(got.body) != `{"password":"demo","people":[]}` {
		t.Errorf("without a demo there is %s", got.body)
	}
}

// The password of the demo users is public. So without the demo, neither their password nor
// their earlier sessions are accepted.
func TestDemoUsersCannotSignInWithoutDemo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "feed.db")
	before := newSite(t, appConfig{Demo: true, Database: file})
	alice, dave := before.signedIn("alice"), before.visitor()
	dave.token = read[session](dave.want(http.StatusCreated, "POST", "/api/users", credentials{"dave", "long enough"})).Token
	stream, others := alice.open("/events"), dave.open("/events")
	stream.NextOf("sse.open")

	after := newSite(t, appConfig{Database: file})
	alice.url, dave.url = after.url, after.url
	wantError(t, alice.want(http.StatusUnauthorized, "GET", "/api/me", nil), "invalid_token")
	wantError(t, alice.want(http.StatusUnauthorized, "GET", "/events", nil), "invalid_token")
	right := credentials{"alice", demoPassword}
	wantError(t, alice.want(http.StatusUnauthorized, "POST", "/api/session", right), "wrong_credentials")
	if got := alice.want(http.StatusOK, "GET", "/api/demo", nil); string(got.body) != `{"password":"demo","people":[]}` {
		t.Errorf("there is %s", got.body)
	}
	dave.want(http.StatusOK, "GET", "/api/me", nil)
	alice.want(http.StatusOK, "POST", "/api/session", credentials{"dave", "long enough"})

	// A sign-in as alice takes as long as one with a wrong password. It waits for a hash too, and is
	// refused while the queue is full.
	release := fillQueue(t, after.app.passwords.queue)
	wantError(t, alice.want(http.StatusServiceUnavailable, "POST", "/api/session", right), "busy")
	release()

	// streamOpened checks each stream that joins the registry.
	for _, open := range before.app.registry.Streams(alice.user.ID) {
		after.app.streamOpened(open)
	}
	stream.NextOf("sse.close")
	path, _ := dave.post("still here")
	alice.url, dave.url = before.url, before.url
	alice.want(http.StatusCreated, "POST", path+"/comments", textRequest{"so am I, in the demo"})
	others.NextOf("comment")
}

func TestDemoDoesNotTakeOverAnExistingAccount(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "feed.db")
	alice := newSite(t, appConfig{Database: file}).visitor()
	alice.want(http.StatusCreated, "POST", "/api/users", credentials{"Alice", "long enough"})

	alice.url = newSite(t, appConfig{Demo: true, Database: file}).url
	if got := alice.want(http.StatusOK, "GET", "/api/demo", nil); string(got.body) != `{"password":"demo","people":["bob","carol"]}` {
		t.Errorf("got %s", got.body)
	}
	alice.want(http.StatusUnauthorized, "POST", "/api/session", credentials{"alice", demoPassword})
	alice.signIn("alice", "long enough")
	if posts := read[feed](alice.want(http.StatusOK, "GET", "/api/posts", nil)).Posts; len(posts) != 2 {
		t.Errorf("%d posts", len(posts))
	}
}

// A demo user who exists is not changed, so one without a post would never get it.
func TestDemoUserAndPostAreAddedTogether(t *testing.T) {
	t.Parallel()
	s := newTestStore(t, inMemory)
	if _, err := s.write.ExecContext(t.Context(), "CREATE TRIGGER refuse BEFORE INSERT ON posts BEGIN SELECT raise(ABORT, 'no room'); END"); err != nil {
		t.Fatal(err)
	}
	if err := s.AddDemoAccount(t.Context(), "alice", "hash", "a post"); err == nil {
		t.Fatal("there was no error")
	}
	if found, err := s.AccountNamed(t.Context(), "alice"); !errors.Is(err, errNoSuchUser) {
		t.Errorf("found %+v, %v", found, err)
	}
}
