package logtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

func readingAppends(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 300})
	r := newReader(log, alice)
	r.page(t)
	add(t, log, alice, 1)
	const before = "what was there before\n"
	page, err := log.Read(t.Context(), ginsse.Query{Subjects: r.subjects, After: r.at, MaxEvents: 10, MaxBytes: 1000}, []byte(before))
	if err != nil {
		t.Fatal(err)
	}
	rest, ok := bytes.CutPrefix(page.Blocks, []byte(before))
	if !ok {
		t.Fatalf("read %q", page.Blocks)
	}
	want(t, blocks(t, rest), 1)
	// What was read stays as it is, whatever comes after it.
	kept := bytes.Clone(page.Blocks)
	for n := 2; n <= 1000; n++ {
		add(t, log, alice, n)
	}
	if !bytes.Equal(page.Blocks, kept) {
		t.Error("a page was changed by what was appended later")
	}
	page, err = log.Read(t.Context(), ginsse.Query{Subjects: r.subjects, After: r.at, MaxEvents: 10, MaxBytes: 1000}, []byte(before))
	if err != nil || page.Gap == "" || string(page.Blocks) != before {
		t.Errorf("beside gap %q and error %v, read %q", page.Gap, err, page.Blocks)
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

func subjectsAreApart(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	a, b, none := newReader(log, alice), newReader(log, bob, all), newReader(log, "user:ali", "user:alice2", "topic:alice")
	a.page(t)
	b.page(t)
	none.page(t)
	add(t, log, alice, 1)
	add(t, log, bob, 2)
	last := add(t, log, all, 3)
	want(t, a.all(t), 1)
	want(t, b.all(t), 2, 3)
	want(t, none.all(t))
	// A reader without news has moved all the same: its position stays fresh.
	if none.at.Seq < last.Seq {
		t.Errorf("a reader of other subjects is at %d, the head at %d", none.at.Seq, last.Seq)
	}
}

func subjectsMerge(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	subjects := []string{alice, all, "topic:a", "topic:b", "topic:c", "topic:d", "topic:e", "topic:f", "topic:g", "topic:h"}
	r := newReader(log, subjects...)
	r.max = 7
	r.page(t)
	for n := 1; n <= 300; n++ {
		add(t, log, subjects[rand.IntN(len(subjects))], n)
	}
	want(t, r.all(t), from(1, 300)...)
}

func pagesAreBounded(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	for n := 1; n <= 250; n++ {
		add(t, log, alice, n)
	}
	for first := 1; first <= 201; first += 100 {
		page, events := r.page(t)
		last := min(first+99, 250)
		want(t, events, from(first, last)...)
		if page.More != (last < 250) {
			t.Errorf("More is %v after %d of 250", page.More, last)
		}
	}
	bySize := newReader(log, alice)
	bySize.at = r.at
	for n := 1; n <= 10; n++ {
		add(t, log, alice, 100+n)
	}
	page, err := log.Read(t.Context(), ginsse.Query{Subjects: []string{alice}, After: r.at, MaxEvents: 100, MaxBytes: 3 * len(ginsse.AppendBlock(nil, r.at, frame(100)))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, blocks(t, page.Blocks), 101, 102, 103)
	if !page.More {
		t.Error("More is false on a page that is full by size")
	}
}

func largeEventIsRead(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	add(t, log, alice, 1)
	if _, err := log.Append(t.Context(), alice, long(100_000)); err != nil {
		t.Fatal(err)
	}
	add(t, log, alice, 3)
	q := ginsse.Query{Subjects: []string{alice}, After: r.at, MaxEvents: 10, MaxBytes: 1000}
	for i := range 3 {
		page, err := log.Read(t.Context(), q, nil)
		if n := len(blocks(t, page.Blocks)); err != nil || n != 1 || page.More != (i < 2) {
			t.Fatalf("page %d: %d events, more %v, %v", i, n, page.More, err)
		}
		q.After = page.Through
	}
}

func beforeEndsTheRead(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	add(t, log, alice, 1)
	second := add(t, log, alice, 2)
	third := add(t, log, alice, 3)
	q := ginsse.Query{Subjects: []string{alice}, After: r.at, Before: third.Seq, MaxEvents: 10, MaxBytes: 1000}
	page, err := log.Read(t.Context(), q, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, blocks(t, page.Blocks), 1, 2)
	if page.More || page.Through.Seq < second.Seq || page.Through.Seq >= third.Seq {
		t.Errorf("read through %d, more %v, before %d", page.Through.Seq, page.More, third.Seq)
	}
	q.After = page.Through
	if page, err = log.Read(t.Context(), q, nil); err != nil || len(page.Blocks) != 0 || page.Through != q.After {
		t.Errorf("reading on found %q through %+v, %v", page.Blocks, page.Through, err)
	}
	r.at = page.Through
	want(t, r.all(t), 3)
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
	for n := 1; n <= 20_000; n++ {
		add(t, log, fmt.Sprint("user:", n%100), n)
	}
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

func watchReports(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	var mu sync.Mutex
	seen := make(map[uint64]string)
	news := make(chan struct{}, 1)
	stop := log.Watch(func(subject string, seq uint64) {
		mu.Lock()
		seen[seq] = subject
		mu.Unlock()
		select {
		case news <- struct{}{}:
		default:
		}
	})
	defer stop()
	const count = 200
	appended := make(map[uint64]string)
	for n := range count {
		subject := []string{alice, bob, all}[n%3]
		appended[add(t, log, subject, n).Seq] = subject
	}
	deadline := time.After(10 * time.Second)
	for {
		mu.Lock()
		complete := len(seen) >= count
		mu.Unlock()
		if complete {
			break
		}
		select {
		case <-news:
		case <-deadline:
			t.Fatalf("%d of %d entries were reported", len(seen), count)
		}
	}
	for seq, subject := range appended {
		if seen[seq] != subject {
			t.Errorf("entry %d of %q was reported as of %q", seq, subject, seen[seq])
		}
	}
}

func watchStops(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	var stopped atomic.Bool
	stop := log.Watch(func(string, uint64) {
		if stopped.Load() {
			t.Error("called after stop had returned")
		}
	})
	add(t, log, alice, 1)
	stop()
	stopped.Store(true)
	add(t, log, alice, 2)
}

// joinUnderFire has readers stop and resume at random positions while appenders
// run at full speed: the seam where other systems lose or repeat.
func joinUnderFire(t *testing.T, s Suite) {
	const appenders, readers = 4, 4
	cycles := 250
	if testing.Short() {
		cycles = 50
	}
	log := s.New(t, Bounds{EventsPerSubject: 1 << 20, MaxBytes: 1 << 30})
	start := newReader(log, all)
	start.page(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg, writing sync.WaitGroup
	var mu sync.Mutex
	order := make(map[string][]uint64) // sequences by subject, as appended
	for i := range appenders {
		subject := []string{alice, all}[i%2]
		writing.Add(1)
		wg.Go(func() {
			defer writing.Done()
			for n := 0; ctx.Err() == nil && n < 100_000; n++ {
				at, err := log.Append(ctx, subject, frame(n))
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				order[subject] = append(order[subject], at.Seq)
				mu.Unlock()
			}
		})
	}
	var reading sync.WaitGroup
	read := make([][]uint64, readers)
	for i := range readers {
		reading.Go(func() {
			r := newReader(log, alice, all)
			r.at = start.at
			seqs := func(events []event) {
				for _, e := range events {
					read[i] = append(read[i], e.at.Seq)
				}
			}
			for range cycles {
				r.max = 1 + rand.IntN(50)
				page, events := r.page(t)
				seqs(events)
				if page.Gap != "" {
					t.Errorf("gap %q", page.Gap)
				}
				if n := len(events); n > 0 {
					// The connection breaks after some of the page: the rest is read again.
					keep := rand.IntN(n)
					r.at = events[keep].at
					read[i] = read[i][:len(read[i])-(n-keep-1)]
				}
			}
			cancel()
			writing.Wait()
			r.max = 1000
			seqs(r.all(t))
		})
	}
	reading.Wait()
	cancel()
	wg.Wait()
	appended := make(map[uint64]bool)
	for _, seqs := range order {
		for _, seq := range seqs {
			if appended[seq] {
				t.Fatalf("sequence %d was given twice", seq)
			}
			appended[seq] = true
		}
	}
	for i := range readers {
		if len(read[i]) != len(appended) {
			t.Errorf("reader %d read %d entries of %d", i, len(read[i]), len(appended))
		}
		for j, seq := range read[i] {
			if !appended[seq] {
				t.Errorf("reader %d read %d, which nobody appended", i, seq)
			}
			if j > 0 && seq <= read[i][j-1] {
				t.Errorf("reader %d read %d after %d", i, seq, read[i][j-1])
			}
		}
	}
}
