package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ginsse/ginsse/ssetest"
)

// site is the application on a real server.
type site struct {
	t   *testing.T
	app *app
	url string
}

// onPostgres is the environment variable with which all tests that do not choose a database use
// Postgres. Otherwise they use one in memory.
const onPostgres = "GIN_APP_TEST_POSTGRES"

// testCost makes password hashes cheap, so that tests are fast.
var testCost = passwordCost{Passes: 1, MemoryKiB: 64, Threads: 1}

func newSite(t *testing.T, cfg appConfig) *site {
	t.Helper()
	a := newTestApp(t, cfg)
	server := httptest.NewServer(a)
	t.Cleanup(func() {
		a.registry.Close() // server.Close waits for streams
		server.Close()
	})
	return &site{t: t, app: a, url: server.URL}
}

func newTestApp(t *testing.T, cfg appConfig) *app {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.PasswordCost = testCost
	if cfg.Database == "" && cfg.Postgres == "" {
		if os.Getenv(onPostgres) != "" {
			cfg.Postgres = newPostgres(t)
		} else {
			cfg.Database = inMemory
		}
	}
	a, err := newApp(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// eachDatabase runs a test with a new database of each kind that several processes can open.
func eachDatabase(t *testing.T, test func(t *testing.T, cfg appConfig)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, appConfig{Demo: true, Database: filepath.Join(t.TempDir(), "feed.db")})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, appConfig{Demo: true, Postgres: newPostgres(t)})
	})
}

// revokeTokens ends the sessions of a user, and leaves the streams open.
func (a *app) revokeTokens(t *testing.T, userID string) {
	t.Helper()
	err := a.store.update(t.Context(), func(ctx context.Context, tx *transaction) error {
		_, err := endSessionsIn(ctx, tx, userID, time.Now().Add(time.Hour), defaultSessionLifetime)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newTLSSite returns a visitor of a site that serves HTTPS.
func newTLSSite(t *testing.T) *visitor {
	t.Helper()
	server := httptest.NewTLSServer(newTestApp(t, appConfig{Demo: true}))
	t.Cleanup(server.Close)
	return &visitor{t: t, url: server.URL, client: server.Client()}
}

// demo returns a site with the demo users, and a signed-in visitor for each. Carol is an
// administrator.
func demo(t *testing.T) (s *site, alice, bob, carol *visitor) {
	t.Helper()
	s = newSite(t, appConfig{Demo: true, Admins: []string{"carol"}})
	return s, s.signedIn("alice"), s.signedIn("bob"), s.signedIn("carol")
}

// visitor is a client of the site. It sends the token of a user, or none.
type visitor struct {
	t      *testing.T
	url    string
	client *http.Client
	token  string
	user   user
	header http.Header // additional headers of each request
}

func (s *site) visitor() *visitor {
	client := &http.Client{Transport: &http.Transport{}}
	s.t.Cleanup(client.CloseIdleConnections)
	return &visitor{t: s.t, url: s.url, client: client}
}

func (s *site) signedIn(name string) *visitor {
	s.t.Helper()
	v := s.visitor()
	v.signIn(name, demoPassword)
	return v
}

func (v *visitor) signIn(name, password string) {
	v.t.Helper()
	given := read[session](v.want(http.StatusOK, "POST", "/api/session", credentials{name, password}))
	v.token, v.user = given.Token, given.User
}

// answer is a response that has been read.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
}

// request returns a request with the visitor's token. A body that is not a string is sent as JSON.
func (v *visitor) request(method, path string, body any) *http.Request {
	v.t.Helper()
	var content io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		content = bytes.NewBufferString(body)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			v.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.url+path, content)
	if err != nil {
		v.t.Fatal(err)
	}
	maps.Copy(r.Header, v.header)
	if v.token != "" {
		r.Header.Set("Authorization", "Bearer "+v.token)
	}
	return r
}

// with returns a copy of the visitor whose requests have one more header.
func (v *visitor) with(name string, values ...string) *visitor {
	other := *v
	other.header = v.header.Clone()
	if other.header == nil {
		other.header = http.Header{}
	}
	other.header[http.CanonicalHeaderKey(name)] = values
	return &other
}

// requestTimeout ends a test whose response is an event stream by mistake.
const requestTimeout = 20 * time.Second

func (v *visitor) send(r *http.Request) answer {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	response, err := v.client.Do(r.WithContext(ctx))
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer{v.t, response.StatusCode, response.Header, body}
}

// want sends a request and fails the test unless the response has the status.
func (v *visitor) want(status int, method, path string, body any) answer {
	v.t.Helper()
	got := v.send(v.request(method, path, body))
	if got.status != status {
		v.t.Fatalf("%s %s: status %d, want %d; body %s", method, path, got.status, status, got.body)
	}
	return got
}

// post adds a post and returns its path and ID.
func (v *visitor) post(body string) (path string, id int64) {
	v.t.Helper()
	id = read[post](v.want(http.StatusCreated, "POST", "/api/posts", textRequest{body})).ID
	return "/api/posts/" + strconv.FormatInt(id, 10), id
}

// open opens an event stream and waits until it is open. All events sent from now on reach it.
func (v *visitor) open(path string, options ...ssetest.Option) *ssetest.Stream {
	v.t.Helper()
	return ssetest.Connect(v.t, v.client, v.request("GET", path, nil), options...)
}

// inboxAnswer is the body of a response to GET /api/notifications.
type inboxAnswer struct {
	Notifications []notification
	readState
}

func (v *visitor) inbox() (list []notification, unread int) {
	v.t.Helper()
	got := read[inboxAnswer](v.want(http.StatusOK, "GET", "/api/notifications", nil))
	return got.Notifications, got.Unread
}

// read decodes the body of an answer.
func read[T any](a answer) (v T) {
	a.t.Helper()
	return parse[T](a.t, a.body)
}

func parse[T any](t *testing.T, text []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// wantReconnect reads a stream until sse.reconnect and checks the reason.
func wantReconnect(t *testing.T, stream *ssetest.Stream, reason string) {
	t.Helper()
	text := stream.NextOf("sse.reconnect").Data
	got := parse[struct {
		Reason string
		Retry  int64
	}](t, []byte(text))
	if got.Reason != reason || got.Retry <= 0 {
		t.Errorf("the stream ended with %s", text)
	}
}

// keys returns the names in a JSON object.
func keys(t *testing.T, text []byte) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for name := range parse[map[string]any](t, text) {
		names[name] = true
	}
	return names
}
