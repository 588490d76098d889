package main

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// newTestStore opens a store without its event log. Its events go to a log in memory.
func newTestStore(t *testing.T, file string) *store {
	t.Helper()
	return newTestStoreOf(t, appConfig{Database: file})
}

func newTestStoreOf(t *testing.T, cfg appConfig) *store {
	t.Helper()
	s, err := openStore(t.Context(), cfg.Database, cfg.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s.sending = sending{registry: registry, log: memoryLog{log}}
	t.Cleanup(registry.Close)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestDatabaseFilesArePrivateAndItsSettingsSafe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newTestStore(t, filepath.Join(dir, "feed.db"))
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 { // the database, its write-ahead log and its shared memory
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if info, err := file.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v, %v", file.Name(), info.Mode(), err)
		}
	}
	for _, name := range []string{"feed.db", "feed.db-wal"} { // an older program created them so
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	newTestStore(t, filepath.Join(dir, "feed.db"))
	for _, name := range []string{"feed.db", "feed.db-wal"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v, %v", name, info.Mode(), err)
		}
	}
	for _, db := range []*sql.DB{s.write, s.read} {
		for pragma, want := range map[string]string{"journal_mode": "wal", "foreign_keys": "1", "busy_timeout": "5000", "synchronous": "2"} {
			var got string
			if err := db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, %v, want %q", pragma, got, err, want)
			}
		}
	}
	if _, err := s.read.ExecContext(t.Context(), "DELETE FROM posts"); err == nil {
		t.Error("the connections for reading can write")
	}
	if _, err := s.write.ExecContext(t.Context(), "INSERT INTO posts (author_id, body, created_at) VALUES ('unknown', '', 0)"); err == nil {
		t.Error("a post with an unknown author was accepted")
	}
}

func TestDatabaseOfANewerProgramIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "feed.db")
	s := newTestStore(t, file)
	if _, err := s.write.ExecContext(t.Context(), "PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(t.Context(), file, ""); err == nil || !strings.Contains(err.Error(), "schema 99") {
		t.Errorf("the error is %v", err)
	}
}

func TestDatabaseOfAnOlderProgramIsMigrated(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "feed.db")
	older, err := openDatabase(file, url.Values{})
	if err != nil {
		t.Fatal(err)
	}
	script, err := migrations.ReadFile("migrations/sqlite/001_begin.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		string(script),
		"INSERT INTO accounts (id, name, password_hash) VALUES ('a', 'alice', ''), ('d', 'dave', '')",
		"INSERT INTO posts (author_id, body, created_at) VALUES ('d', 'still here', 0)",
		"PRAGMA user_version = 1",
	} {
		if _, err := older.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%v in %s", err, statement)
		}
	}
	if err := older.Close(); err != nil {
		t.Fatal(err)
	}
	s := newTestStore(t, file)
	for name, demo := range map[string]bool{"alice": true, "dave": false} {
		if a, err := s.AccountNamed(t.Context(), name); err != nil || a.Demo != demo {
			t.Errorf("%s is %+v, %v", name, a, err)
		}
	}
	if found, err := s.Post(t.Context(), "d", 1); err != nil || found.Body != "still here" {
		t.Errorf("the post is %+v, %v", found, err)
	}
	if _, err := s.AddPost(t.Context(), "d", "a post", "key"); err != nil {
		t.Error(err)
	}
}

// A comment or a reaction and its notification are added together or not at all.
func TestFailedTransactionChangesNothing(t *testing.T) {
	t.Parallel()
	s := newTestStore(t, inMemory)
	alice, err := s.AddAccount(t.Context(), "alice", "hash")
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.AddPost(t.Context(), alice.ID, "a post", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.ExecContext(t.Context(), "CREATE TRIGGER refuse BEFORE INSERT ON notifications BEGIN SELECT raise(ABORT, 'no room'); END"); err != nil {
		t.Fatal(err)
	}
	bob, err := s.AddAccount(t.Context(), "bob", "hash")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddComment(t.Context(), made.ID, bob.ID, "a comment", ""); err == nil {
		t.Fatal("there was no error")
	}
	if _, _, err := s.AddReaction(t.Context(), made.ID, bob.ID, "like"); err == nil {
		t.Fatal("there was no error")
	}
	seen, err := s.Post(t.Context(), bob.ID, made.ID)
	if err != nil || len(seen.Comments) != 0 || seen.CommentCount != 0 || seen.Reactions["like"] != 0 {
		t.Errorf("the post is %+v, %v", seen, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.AddPost(ctx, alice.ID, "too late", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// Two processes write to one database. A notification never has a lower ID than one that was seen:
// pages ask for those after the newest that they have.
func TestConcurrentWritesFromTwoStores(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, cfg appConfig) {
		stores := []*store{newTestStoreOf(t, cfg), newTestStoreOf(t, cfg)} // as two processes
		alice, err := stores[0].AddAccount(t.Context(), "alice", "hash")
		if err != nil {
			t.Fatal(err)
		}
		bob, err := stores[1].AddAccount(t.Context(), "bob", "hash")
		if err != nil {
			t.Fatal(err)
		}
		made, err := stores[0].AddPost(t.Context(), alice.ID, "a post", "")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 20 {
					if _, err := stores[i%2].AddComment(t.Context(), made.ID, bob.ID, "hello", ""); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		written := make(chan struct{})
		go func() {
			wg.Wait()
			close(written)
		}()
		seen := map[int64]bool{}
		for newest, done := int64(0), false; !done; {
			select {
			case <-written:
				done = true // after one more look
			default:
			}
			list, state, err := stores[1].Notifications(t.Context(), alice.ID, newest)
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range list {
				seen[one.ID], newest = true, max(newest, one.ID)
			}
			if done && (len(seen) != 160 || state.Unread != 160) {
				t.Errorf("%d of 160 notifications were seen, %d are unread", len(seen), state.Unread)
			}
		}
	})
}

// Two clicks on two nodes are one reaction, with one notification.
func TestConcurrentReactionsNotifyOnce(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, cfg appConfig) {
		stores := []*store{newTestStoreOf(t, cfg), newTestStoreOf(t, cfg)}
		alice, err := stores[0].AddAccount(t.Context(), "alice", "hash")
		if err != nil {
			t.Fatal(err)
		}
		bob, err := stores[0].AddAccount(t.Context(), "bob", "hash")
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			made, err := stores[0].AddPost(t.Context(), alice.ID, "a post", "")
			if err != nil {
				t.Fatal(err)
			}
			var added atomic.Int32
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					_, isNew, err := stores[i%2].AddReaction(t.Context(), made.ID, bob.ID, "like")
					if err != nil {
						t.Error(err)
					}
					if isNew {
						added.Add(1)
					}
				})
			}
			wg.Wait()
			if n := added.Load(); n != 1 {
				t.Errorf("%d reactions were added", n)
			}
		}
		list, _, err := stores[1].Notifications(t.Context(), alice.ID, 0)
		if err != nil || len(list) != 10 {
			t.Errorf("%d notifications, %v", len(list), err)
		}
	})
}

func TestNamesIgnoreCase(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, cfg appConfig) {
		s := newTestStoreOf(t, cfg)
		if _, err := s.AddAccount(t.Context(), "Alice", "hash"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.AddAccount(t.Context(), "aLICE", "hash"); !errors.Is(err, errNameTaken) {
			t.Errorf("the error is %v", err)
		}
		if found, err := s.AccountNamed(t.Context(), "alice"); err != nil || found.Name != "Alice" {
			t.Errorf("found %+v, %v", found, err)
		}
		for _, name := range []string{"bob", "al\x00ice", "\xff"} {
			if _, err := s.AccountNamed(t.Context(), name); !errors.Is(err, errNoSuchUser) {
				t.Errorf("%q: the error is %v", name, err)
			}
		}
	})
}
