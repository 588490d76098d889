package main

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/ssetest"
)

func TestSignInGivesTokenAndCookie(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	v := s.visitor()
	answer := v.want(http.StatusOK, "POST", "/api/session", credentials{"ALICE", demoPassword})
	wantKeys(t, string(answer.body), "token", "expires_at", "user")
	given := read[session](answer)
	if given.User.Name != "alice" || given.User.ID == "" || strings.Contains(given.User.ID, "alice") {
		t.Errorf("user is %+v", given.User)
	}
	if left := time.Until(given.ExpiresAt); left < defaultSessionLifetime-time.Minute || left > defaultSessionLifetime {
		t.Errorf("expires in %v", left)
	}
	cookie := answer.header.Get("Set-Cookie")
	for _, part := range []string{"session=" + given.Token, "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=900"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("cookie %q has no %s", cookie, part)
		}
	}
	if strings.Contains(cookie, "Secure") {
		t.Errorf("cookie %q is Secure on a connection that is not", cookie)
	}
	// The token is accepted in the cookie and in the Authorization header.
	r := v.request("GET", "/api/me", nil)
	r.AddCookie(&http.Cookie{Name: sessionCookie, Value: given.Token})
	v.token = given.Token
	for _, got := range [][]byte{v.send(r).body, v.want(http.StatusOK, "GET", "/api/me", nil).body} {
		if me := parse[struct{ User user }](t, got); me.User != given.User {
			t.Errorf("me is %s", got)
		}
	}
}

func TestDifferentTokensInOneRequestAreRefused(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	wantError(t, alice.with("Cookie", sessionCookie+"="+bob.token).want(http.StatusBadRequest, "GET", "/api/me", nil), "invalid_request")
	alice.with("Cookie", sessionCookie+"="+alice.token).want(http.StatusOK, "GET", "/api/me", nil)
}

func TestSignUpSignsIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{})
	v := s.visitor()
	answer := v.want(http.StatusCreated, "POST", "/api/users", credentials{"dave", "long enough"})
	wantKeys(t, string(answer.body), "token", "expires_at", "user")
	v.token = read[session](answer).Token
	if cookie := answer.header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "session="+v.token+";") {
		t.Errorf("cookie is %q", cookie)
	}
	if cache := answer.header.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("Cache-Control is %q", cache)
	}
	v.post("hello")
	v.signIn("dave", "long enough")
}

func TestSignOutEndsEveryStreamAndSession(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	phone := &visitor{t: t, url: alice.url, client: alice.client}
	phone.signIn("alice", demoPassword)
	streams := []*ssetest.Stream{alice.open("/events"), phone.open("/events")}
	others := bob.open("/events")

	answer := alice.want(http.StatusNoContent, "DELETE", "/api/session", nil)
	if cookie := answer.header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "session=;") || !strings.Contains(cookie, "Max-Age=0") {
		t.Errorf("cookie is %q", cookie)
	}
	for _, stream := range streams {
		if got := stream.NextOf("sse.close").Data; got != `{"reason":"signed out"}` {
			t.Errorf("sse.close is %s", got)
		}
		if _, err := stream.WaitEnd(); err != nil {
			t.Errorf("the stream ended with %v", err)
		}
	}
	for _, v := range []*visitor{alice, phone} {
		wantError(t, v.want(http.StatusUnauthorized, "GET", "/api/me", nil), "invalid_token")
		wantError(t, v.want(http.StatusUnauthorized, "GET", "/events", nil), "invalid_token")
	}
	// Signing in again in the same second works. Bob's stream is not affected.
	alice.signIn("alice", demoPassword)
	alice.want(http.StatusOK, "GET", "/api/me", nil)
	path, _ := bob.post("still there?")
	alice.want(http.StatusCreated, "POST", path+"/comments", textRequest{"yes"})
	others.NextOf("comment")
}

// Whether the sign-out or the stream comes first, no stream is open in the end.
func TestSignOutEndsStreamsThatAreBeingOpened(t *testing.T) {
	t.Parallel()
	s, alice, _, _ := demo(t)
	for range 100 {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				response, err := alice.client.Do(alice.request("GET", "/events", nil))
				if err != nil {
					t.Error(err)
					return
				}
				defer response.Body.Close()
				if _, err := io.Copy(io.Discard, response.Body); err != nil { // until the stream has ended
					t.Error(err)
				}
			})
		}
		alice.want(http.StatusNoContent, "DELETE", "/api/session", nil)
		done := make(chan struct{})
		go func() {
			wg.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d streams are still open", len(s.app.registry.Streams(alice.user.ID)))
		}
		alice.signIn("alice", demoPassword)
	}
}

// A stream that passed requireSession before the sign-out, and joined the registry after it, must
// end too.
func TestStreamOpenedDuringSignOutEnds(t *testing.T) {
	t.Parallel()
	s, alice, _, _ := demo(t)
	// The steps of signOut in the worst order: the stream opens between them.
	stream := alice.open("/events")
	stream.NextOf("sse.open")
	s.app.revokeTokens(t, alice.user.ID)
	for _, open := range s.app.registry.Streams(alice.user.ID) {
		s.app.streamOpened(open)
	}
	stream.NextOf("sse.close")
}

func TestSignOutRevokesEarlierTokensOnly(t *testing.T) {
	t.Parallel()
	s, alice, _, _ := demo(t)
	ctx := t.Context()
	issue := func() session {
		given, err := s.app.sessions.issue(ctx, alice.user.ID)
		if err != nil {
			t.Fatal(err)
		}
		return given
	}
	for range 3 { // several sign-outs within one second
		begun := time.Now()
		before := issue()
		for range 3 { // repeated sign-outs change nothing
			if err := s.app.store.EndSessions(ctx, alice.user.ID, before.ExpiresAt, defaultSessionLifetime); err != nil {
				t.Fatal(err)
			}
		}
		later := issue()
		after, err := s.app.store.Account(ctx, alice.user.ID)
		if err != nil {
			t.Fatal(err)
		}
		if longer, passed := later.ExpiresAt.Sub(before.ExpiresAt), time.Since(begun); longer > passed+2*time.Second {
			t.Errorf("the session after it lasts %v longer, and %v have passed", longer, passed)
		}
		if !revoked(after, before.ExpiresAt) || revoked(after, later.ExpiresAt) {
			t.Errorf("tokens are revoked until %v, want it to include %v and not %v", after.RevokedThrough, before.ExpiresAt, later.ExpiresAt)
		}
	}
}

// In a bubble of synctest an hour takes no time.
func TestSessionInUseIsRenewedAndIdleOneExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestApp(t, appConfig{Database: inMemory, Demo: true})
		server := ssetest.NewServer(t, a)
		t.Cleanup(a.registry.Close)
		v := &visitor{t: t, url: server.URL, client: server.Client}
		v.signIn("alice", demoPassword)
		bearer, cookie := v.token, v.token
		v.token = ""
		use := func() answer {
			r := v.request("GET", "/api/me", nil)
			r.AddCookie(&http.Cookie{Name: sessionCookie, Value: cookie})
			return v.send(r)
		}
		if got := use().header.Get("Set-Cookie"); got != "" {
			t.Errorf("a new session was renewed: %q", got)
		}
		stream := ssetest.Connect(t, server.Client, v.request("GET", "/events", nil),
			ssetest.Header("Cookie", sessionCookie+"="+cookie))

		for range 6 { // an hour in all
			time.Sleep(10 * time.Minute)
			got := use()
			if got.status != http.StatusOK {
				t.Fatalf("status %d after %s", got.status, got.body)
			}
			renewed, _, _ := strings.Cut(strings.TrimPrefix(got.header.Get("Set-Cookie"), "session="), ";")
			if renewed == "" || renewed == cookie {
				t.Fatalf("the session was not renewed: %q", got.header.Get("Set-Cookie"))
			}
			cookie = renewed
		}
		// The stream ends with the token that it was opened with. Renewing the cookie does not
		// extend it.
		wantReconnect(t, stream, "expired")
		v.token = bearer
		wantError(t, v.want(http.StatusUnauthorized, "GET", "/api/me", nil), "invalid_token")
		v.token = ""
		time.Sleep(defaultSessionLifetime)
		if got := use(); got.status != http.StatusUnauthorized {
			t.Errorf("an idle session is answered with %d", got.status)
		}
	})
}

// Behind a proxy that speaks TLS, the cookie is Secure. Its prefix __Host- stops other sites of the
// domain from setting it.
func TestCookieIsForHTTPSBehindAProxy(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true, Secure: true})
	v := s.visitor()
	given := v.want(http.StatusOK, "POST", "/api/session", credentials{"alice", demoPassword})
	token := read[session](given).Token
	wantSecure := func(a answer) {
		t.Helper()
		cookie := a.header.Get("Set-Cookie")
		for _, part := range []string{"; Secure", "; Path=/", "; HttpOnly", "; SameSite=Strict"} {
			if !strings.HasPrefix(cookie, "__Host-session=") || !strings.Contains(cookie, part) || strings.Contains(cookie, "Domain") {
				t.Errorf("cookie %q has no %q", cookie, part)
			}
		}
	}
	wantSecure(given)
	v.with("Cookie", "session="+token).want(http.StatusUnauthorized, "GET", "/api/me", nil)
	inCookie := v.with("Cookie", "__Host-session="+token)
	inCookie.want(http.StatusOK, "GET", "/api/me", nil)

	// A token that is about to expire is renewed under the same name.
	old, err := s.app.sessions.sign(read[session](given).User, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	wantSecure(v.with("Cookie", "__Host-session="+old.Token).want(http.StatusOK, "GET", "/api/me", nil))
	wantSecure(inCookie.want(http.StatusNoContent, "DELETE", "/api/session", nil))
}

func TestSessionIsNullForAVisitorWithoutOne(t *testing.T) {
	t.Parallel()
	s, alice, bob, _ := demo(t)
	out, expired := s.signedIn("carol"), s.visitor()
	out.want(http.StatusNoContent, "DELETE", "/api/session", nil)
	old, err := s.app.sessions.sign(alice.user, time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	expired.token = old.Token
	for name, v := range map[string]*visitor{
		"new": s.visitor(), "signed_out": out, "expired": expired,
		"forged": {t: t, url: s.url, client: alice.client, token: alice.token[:len(alice.token)-8] + "AAAAAAAA"},
	} {
		if got := v.want(http.StatusOK, "GET", "/api/session", nil); string(got.body) != `{"user":null}` || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: got %s", name, got.body)
		}
	}
	v := &visitor{t: t, url: s.url, client: alice.client}
	for name, test := range map[string]struct {
		from *visitor
		want user
	}{
		"bearer":            {alice, alice.user},
		"cookie":            {v.with("Cookie", sessionCookie+"="+alice.token), alice.user},
		"meant_for_another": {bob.with("X-User", alice.user.ID), bob.user},
	} {
		if got := read[struct{ User user }](test.from.want(http.StatusOK, "GET", "/api/session", nil)).User; got != test.want {
			t.Errorf("%s: the user is %+v", name, got)
		}
	}
	wantError(t, alice.with("Cookie", sessionCookie+"="+bob.token).want(http.StatusBadRequest, "GET", "/api/session", nil), "invalid_request")
	// Using the session renews it.
	soon, err := s.app.sessions.sign(alice.user, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	got := v.with("Cookie", sessionCookie+"="+soon.Token).want(http.StatusOK, "GET", "/api/session", nil)
	if cookie := got.header.Get("Set-Cookie"); !strings.HasPrefix(cookie, sessionCookie+"=ey") {
		t.Errorf("cookie is %q", cookie)
	}
}

// Alice's page is open in one tab, and Bob has signed in in another tab of the same browser. Both
// tabs send Bob's cookie.
func TestRequestForAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	_, alice, bob, _ := demo(t)
	path, _ := alice.post("a post")
	page := bob.with("X-User", alice.user.ID)
	page.token = ""
	page = page.with("Cookie", sessionCookie+"="+bob.token)
	for _, test := range []struct {
		method, path string
		body         any
	}{
		{"GET", "/api/me", nil},
		{"GET", "/api/posts", nil},
		{"POST", "/api/posts", textRequest{"as alice"}},
		{"POST", path + "/comments", textRequest{"as alice"}},
		{"POST", path + "/reactions", `{"kind":"like"}`},
		{"POST", "/api/notifications/read", `{"up_to":1}`},
		{"DELETE", "/api/session", nil},
		{"GET", "/events", nil},
		{"POST", "/events", `{"stream":"any"}`},
	} {
		got := page.want(http.StatusConflict, test.method, test.path, test.body)
		wantError(t, got, "other_user")
		if cookie := got.header.Get("Set-Cookie"); cookie != "" {
			t.Errorf("%s %s sets %q", test.method, test.path, cookie)
		}
	}
	wantError(t, bob.want(http.StatusConflict, "GET", "/events?user="+alice.user.ID, nil), "other_user")
	if seen := read[post](alice.want(http.StatusOK, "GET", path, nil)); seen.CommentCount != 0 || seen.Reactions["like"] != 0 {
		t.Errorf("something was done: %+v", seen)
	}
	bob.with("X-User", bob.user.ID).want(http.StatusOK, "GET", "/api/me", nil)
	bob.open("/events?user=" + bob.user.ID).NextOf("sse.open")
	// Without a session the answer is 401, even if X-User names a user.
	anonymous := &visitor{t: t, url: bob.url, client: bob.client}
	wantError(t, anonymous.with("X-User", alice.user.ID).want(http.StatusUnauthorized, "GET", "/api/me", nil), "unauthenticated")
}

func TestCookieIsSecureOverTLS(t *testing.T) {
	t.Parallel()
	s := newTLSSite(t)
	answer := s.want(http.StatusOK, "POST", "/api/session", credentials{"alice", demoPassword})
	if cookie := answer.header.Get("Set-Cookie"); !strings.Contains(cookie, "; Secure") {
		t.Errorf("cookie is %q", cookie)
	}
}
