package main

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// The first one makes the schema and the demo users. The others wait.
func TestConcurrentStartsOnANewPostgres(t *testing.T) {
	t.Parallel()
	address := newPostgres(t)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			<-start
			s := newSite(t, appConfig{Demo: true, Postgres: address})
			if posts := read[feed](s.signedIn("alice").want(http.StatusOK, "GET", "/api/posts", nil)).Posts; len(posts) != 3 {
				t.Errorf("%d posts", len(posts))
			}
		})
	}
	close(start)
	wg.Wait()
}

func TestPostgresOfANewerProgramIsRefused(t *testing.T) {
	t.Parallel()
	cfg := appConfig{Postgres: newPostgres(t)}
	s := newTestStoreOf(t, cfg)
	if _, err := s.write.ExecContext(t.Context(), "INSERT INTO schema_version (version) VALUES (99)"); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(t.Context(), "", cfg.Postgres); err == nil || !strings.Contains(err.Error(), "schema 99") {
		t.Errorf("the error is %v", err)
	}
}

// Neither the output nor the log nor an error shows a password.
func TestPostgresPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"no_server":       "postgres://app:se-cret@127.0.0.1:1/feed",
		"slash":           "postgres://app:se-cret/x@127.0.0.1:1/feed",
		"two_at":          "postgres://app:x@se-cret@127.0.0.1:nonsense/feed",
		"not_escaped":     "postgres://app:%se-cret@127.0.0.1:1/feed",
		"bad_port":        "postgres://app:se-cret@127.0.0.1:nonsense/feed",
		"in_the_query":    "postgres://127.0.0.1:1/feed?user=app&password=se-cret",
		"bad_query":       "postgres://127.0.0.1:1/feed?password=se-cret&sslmode=nonsense",
		"keywords":        "host=127.0.0.1 port=1 password=se-cret dbname=feed",
		"quoted_keywords": "host=127.0.0.1 port=nonsense password='x se-cret' dbname=feed",
		"another_scheme":  "postgre://app:se-cret@127.0.0.1:1/feed",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := run(t.Context(), []string{"-addr", "127.0.0.1:0", "-postgres", address}, &out, &out)
			if err == nil || strings.Contains(err.Error()+out.String(), "cret") {
				t.Errorf("error %v\n%s", err, out.String())
			}
		})
	}
	t.Run("running", func(t *testing.T) {
		t.Parallel()
		address := newPostgres(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var out, log bytes.Buffer
		serving := writerFunc(func(p []byte) (int, error) {
			cancel() // it says that it serves
			return out.Write(p)
		})
		if err := run(ctx, []string{"-addr", "127.0.0.1:0", "-postgres", address}, serving, &log); err != nil {
			t.Error(err)
		}
		if !strings.Contains(out.String(), "Database: feed") || strings.Contains(out.String()+log.String(), "cret") {
			t.Errorf("%s%s", out.String(), log.String())
		}
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
