package natslog_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

// TestHeadIsAfterEachAppendOnAnyNode asks one node for the head right after another has appended.
func TestHeadIsAfterEachAppendOnAnyNode(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, s single, cfg natslog.Config) {
		here, there := open(t, connect(t, s.ClientURL()), cfg), open(t, connect(t, s.ClientURL()), cfg)
		start := head(t, here)
		for n := 1; n <= 200; n++ {
			appended := add(t, there, alice, n)
			last := head(t, here)
			if last.Seq < appended.Seq {
				t.Fatalf("head %+v after an append at %+v", last, appended)
			}
			page, err := read(t, here, eventlog.Query{Subjects: []string{alice}, After: start, MaxEntries: 1000, MaxBytes: 1 << 20})
			if err != nil || page.Through.Seq < last.Seq || len(page.Entries) != n {
				t.Fatalf("%d entries through %+v, the head is %+v, error %v", len(page.Entries), page.Through, last, err)
			}
		}
	})
}

// TestHeadsShareRequests opens many streams at the same time.
func TestHeadsShareRequests(t *testing.T) {
	t.Parallel()
	p := newProxy(t, newServer(t).Addr().String())
	nc := p.connect(t)
	log := open(t, nc, natslog.Config{})
	last := add(t, log, alice, 1)
	const count = 500
	p.Stall(true) // so that all of them arrive during the first request
	before, began := nc.Stats().OutMsgs, time.Now()
	var asking sync.WaitGroup
	var arrived sync.WaitGroup
	arrived.Add(count)
	for range count {
		asking.Go(func() {
			arrived.Done()
			at, err := log.Head(t.Context())
			for ; errors.Is(err, eventlog.ErrUnavailable) && time.Since(began) < patience; at, err = log.Head(t.Context()) { // the machine is slow
				time.Sleep(100 * time.Millisecond)
			}
			if err != nil || at != last {
				t.Errorf("head %+v, error %v", at, err)
			}
		})
	}
	arrived.Wait()
	until(t, "a request", func() bool { return nc.Stats().OutMsgs > before })
	p.Stall(false)
	asking.Wait()
	if sent := nc.Stats().OutMsgs - before; sent > 100 {
		t.Errorf("%d messages for %d calls", sent, count)
	}
}

// TestHeadOfAStreamThatEndsWithRemovedEvents has a node miss events that are then removed: they
// never arrive, and Head does not wait for them in vain.
func TestHeadOfAStreamThatEndsWithRemovedEvents(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, s single, cfg natslog.Config) {
		p := newProxy(t, s.Addr().String())
		nc := connect(t, s.ClientURL())
		here, there := open(t, p.connect(t), cfg), open(t, nc, cfg)
		add(t, there, alice, 1)
		p.Refuse(true)
		p.DropAll()
		var last eventlog.Cursor
		for n := 2; n <= 5; n++ {
			last = add(t, there, alice, n)
		}
		stream, err := jet(t, nc).Stream(t.Context(), "GINSSE")
		if err != nil {
			t.Fatal(err)
		}
		for seq := last.Seq - 3; seq <= last.Seq; seq++ {
			if err := stream.DeleteMsg(t.Context(), seq); err != nil {
				t.Fatal(err)
			}
		}
		p.Refuse(false)
		until(t, "the head", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			start := time.Now()
			head, err := here.Head(ctx)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			if err != nil && !errors.Is(err, eventlog.ErrUnavailable) {
				t.Error(err)
			}
			return err == nil && head.Seq >= last.Seq
		})
	})
}

// TestHeadEndsWithItsContext asks a broker that does not answer.
func TestHeadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := newProxy(t, newServer(t).Addr().String())
	log := open(t, p.connect(t), natslog.Config{})
	until(t, "a head that ends with its context", func() bool { // on a slow machine, at another attempt
		p.Stall(true)
		defer p.Stall(false)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := log.Head(ctx)
		if !errors.Is(err, eventlog.ErrUnavailable) {
			t.Fatalf("error is %v", err)
		}
		return errors.Is(err, context.DeadlineExceeded) && time.Since(start) <= 500*time.Millisecond
	})
}

func TestCommandsAreReadInOrderWithEvents(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	here, there := open(t, connect(t, s.ClientURL()), natslog.Config{}), open(t, connect(t, s.ClientURL()), natslog.Config{RecentBytes: 1})
	const commands = "command:alice"
	r := newReader(t, here, alice, commands, all)
	old := newReader(t, there, alice, commands, all)
	for n, subject := range []string{alice, commands, all, "command:bob", alice, commands} {
		add(t, here, subject, n)
	}
	r.want(t, 0, 1, 2, 4, 5)
	old.want(t, 0, 1, 2, 4, 5)
}

// TestOpenReturnsWhenTheNodeHasCaughtUp opens a node on a long stream. It sees all events at once.
func TestOpenReturnsWhenTheNodeHasCaughtUp(t *testing.T) {
	t.Parallel()
	nc := connect(t, newServer(t).ClientURL())
	first := add(t, open(t, nc, natslog.Config{}), alice, 0)
	js := jet(t, nc)
	const count = 3000
	for n := range count {
		if _, err := js.PublishAsync("ginsse.all", frame(n)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	log := open(t, nc, natslog.Config{})
	q := eventlog.Query{Subjects: []string{all}, After: first, MaxEntries: 2 * count, MaxBytes: 1 << 30}
	page, err := read(t, log, q)
	if err != nil || page.Gap != "" || len(page.Entries) != count {
		t.Errorf("%d entries, gap %q, error %v", len(page.Entries), page.Gap, err)
	}
}
