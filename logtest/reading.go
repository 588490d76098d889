package logtest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/ginsse/ginsse"
)

const alice, bob, all = "user:alice", "user:bob", "all"

func appendReturnsWhatReadFinds(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	appended := add(t, log, alice, 1)
	found := r.all(t)
	want(t, found, 1)
	if len(found) != 1 {
		return
	}
	if e := found[0]; e.at != appended || !bytes.Equal(e.frame, frame(1)) {
		t.Errorf("appended at %+v, found %q at %+v", appended, e.frame, e.at)
	}
	if r.at.Seq < appended.Seq {
		t.Errorf("read through %d, appended %d", r.at.Seq, appended.Seq)
	}
}

func frameIsKept(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	text := append(bytes.Repeat([]byte("data: \x00é\n"), 10_000), '\n')
	given := bytes.Clone(text)
	if _, err := log.Append(t.Context(), alice, given); err != nil {
		t.Fatal(err)
	}
	clear(given) // it is the caller's again
	if found := r.all(t); len(found) != 1 || !bytes.Equal(found[0].frame, text) {
		t.Errorf("the frame was changed")
	}
}

// frameIsReturned abandons the wait: whether the event was stored is the log's to
// decide, but the frame is the caller's again.
func frameIsReturned(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for n := 1; n <= 20; n++ {
		given := frame(10 + n)
		_, _ = log.Append(ended, alice, given)
		copy(given, "data: 99")
	}
	add(t, log, alice, 50)
	last := 0
	for _, e := range r.all(t) {
		n := number(e)
		if n <= last || n > 30 && n != 50 {
			t.Errorf("read %q after %d", e.frame, last)
		}
		last = n
	}
	if last != 50 {
		t.Errorf("the last event read is %d", last)
	}
}

func startsAtHead(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	last := add(t, log, alice, 1)
	r := newReader(log, alice)
	page, events := r.page(t)
	if len(events) != 0 || page.Gap != "" || page.More {
		t.Errorf("page is %+v, want no events", page)
	}
	if page.Through.Seq < last.Seq {
		t.Errorf("starts at %d, before the head %d", page.Through.Seq, last.Seq)
	}
	add(t, log, alice, 2)
	want(t, r.all(t), 2)
}

func resumeAfterEachPosition(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	start := newReader(log, alice, all)
	start.page(t)
	positions := []ginsse.Cursor{start.at}
	for n := 1; n <= 60; n++ {
		subject := []string{alice, all, bob}[n%3]
		positions = append(positions, add(t, log, subject, n))
	}
	for i, at := range positions {
		// As a client sends it.
		at, err := ginsse.ParseCursor(at.String())
		if err != nil {
			t.Fatal(err)
		}
		r := newReader(log, alice, all)
		r.at = at
		var list []int
		for n := i + 1; n <= 60; n++ {
			if n%3 != 2 {
				list = append(list, n)
			}
		}
		want(t, r.all(t), list...)
	}
}

func resumeNearTheHead(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	fill(t, log, 20_000)
	r := newReader(log, "user:1", "user:2")
	r.at = add(t, log, "user:1", 1)
	want(t, r.all(t))
	add(t, log, "user:2", 2)
	want(t, r.all(t), 2)
}

func emptyLogHasPosition(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	first := newReader(log, alice)
	first.page(t)
	if first.at.IsZero() {
		t.Fatal("the position of an empty log is the zero Cursor, which means none")
	}
	add(t, log, alice, 1)
	want(t, first.all(t), 1)
}

// fill appends many events for a hundred users, from several goroutines: a log across
// a network takes its time for each.
func fill(t *testing.T, log ginsse.Log, count int) {
	t.Helper()
	if testing.Short() {
		count /= 10
	}
	const appenders = 16
	var appending sync.WaitGroup
	for i := range appenders {
		appending.Go(func() {
			for n := i; n < count; n += appenders {
				if _, err := log.Append(t.Context(), fmt.Sprint("user:", n%100), frame(n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	appending.Wait()
}
