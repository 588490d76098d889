package eventlog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWindowSaysWhyThereIsNoContact(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(t, WindowConfig{Name: "the database", ContactTimeout: 2 * time.Second}, WindowBounds{})
		check := func(when string, is error, text string) {
			t.Helper()
			_, err := w.Head(t.Context())
			for _, err := range []error{err, w.Ready()} {
				if !errors.Is(err, is) || !strings.Contains(err.Error(), text) {
					t.Errorf("%s: %v", when, err)
				}
			}
		}
		time.Sleep(2 * time.Second)
		check("without a failure", ErrUnavailable, "store unavailable: the database does not answer")
		w.NoteFailure(errors.New("refused"))
		w.NoteFailure(errStore)
		check("after failures", errStore, "store unavailable: the database: "+errStore.Error())
		check("after failures", ErrUnavailable, "")
		w.ConfirmContact()
		if err := errors.Join(w.Ready(), w.Failure()); err != nil {
			t.Errorf("with contact: %v", err)
		}
		w.NoteFailure(errStore)
		if err := w.Ready(); err != nil || !errors.Is(w.Failure(), errStore) {
			t.Errorf("a failure with contact: %v, failure %v", err, w.Failure())
		}
		w.Close()
		check("after Close", ErrClosed, "")
	})
}

func TestWindowLogsTheFirstFailureAndTheEnd(t *testing.T) {
	t.Parallel()
	var records bytes.Buffer
	w := newTestWindow(t, WindowConfig{Name: "the database", Logger: slog.New(slog.NewTextHandler(&records, nil))}, WindowBounds{})
	for range 2 {
		w.NoteFailure(errors.New("first"))
		w.NoteFailure(errors.New("second"))
		w.ConfirmContact()
		w.ConfirmContact()
	}
	lines := strings.Split(strings.TrimSpace(records.String()), "\n")
	if len(lines) != 4 {
		t.Fatalf("records:\n%s", &records)
	}
	for i, parts := range [][]string{{"level=WARN", `store="the database"`, "error=first"}, {"level=INFO", `store="the database"`}} {
		for _, part := range parts {
			if !strings.Contains(lines[i], part) || !strings.Contains(lines[i+2], part) {
				t.Errorf("no %s in records:\n%s", part, &records)
			}
		}
	}
}

func TestWindowNamesTheStoreInItsErrors(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{Name: "the database", ContactTimeout: time.Hour, Store: &fakeStore{
		last:  func(context.Context) (Cursor, error) { return Cursor{}, errStore },
		older: func(context.Context, Query, Cursor, []*Entry) (Page, error) { return Page{}, errStore },
	}}, WindowBounds{Bytes: 1})
	addEntries(w, "all", 1, 2, 3)
	_, reading := w.Read(t.Context(), Query{Subjects: []string{"all"}, After: testCursor(1)}, nil)
	_, asking := w.Head(t.Context())
	for doing, err := range map[string]error{"reading": reading, "asking for the head": asking} {
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, errStore) || !strings.Contains(err.Error(), "the database: "+doing) {
			t.Errorf("%s: %v", doing, err)
		}
	}
}

func TestWindowCloseWaitsForCallsOfTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended, proceed := make(chan struct{}, 3), make(chan struct{})
		wait := func(ctx context.Context) error {
			<-ctx.Done()
			ended <- struct{}{}
			<-proceed
			return ctx.Err()
		}
		w := newTestWindow(t, WindowConfig{StoreReads: 1, Store: &fakeStore{
			last:  func(ctx context.Context) (Cursor, error) { return Cursor{}, wait(ctx) },
			older: func(ctx context.Context, _ Query, _ Cursor, _ []*Entry) (Page, error) { return Page{}, wait(ctx) },
		}}, WindowBounds{Bytes: 1})
		addEntries(w, "all", 1, 2, 3)
		results := make(chan error, 3)
		for range 2 { // the second waits for its turn
			go func() {
				_, err := w.Read(t.Context(), Query{Subjects: []string{"all"}, After: testCursor(1)}, nil)
				results <- err
			}()
		}
		go func() { _, err := w.Head(t.Context()); results <- err }()
		synctest.Wait()
		start, closed := time.Now(), make(chan struct{})
		go func() { w.Close(); close(closed) }()
		synctest.Wait()
		if len(ended) != 2 {
			t.Errorf("the contexts of %d calls have ended", len(ended))
		}
		select {
		case <-closed:
			t.Error("Close did not wait")
		default:
		}
		close(proceed)
		<-closed
		for range 3 {
			if err := <-results; !errors.Is(err, ErrClosed) {
				t.Errorf("error is %v", err)
			}
		}
		if time.Since(start) > 0 {
			t.Errorf("it took %v", time.Since(start))
		}
	})
}
