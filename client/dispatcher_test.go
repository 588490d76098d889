package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/ssetest"
)

// newWriterClient returns a client of a server that calls write for each stream. after is the last
// event ID of the request. The client does not reconnect.
func newWriterClient(t *testing.T, write func(w io.Writer, after int)) *client.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		write(w, after)
	}))
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(client.Config{URL: server.URL, HTTPClient: &http.Client{Transport: transport}, NoReconnect: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// count writes the events with numbers after+1 to through, alternately of type even and odd.
func count(w io.Writer, after, through int) {
	for i := after + 1; i <= through; i++ {
		fmt.Fprintf(w, "event: %s\ndata: %d\nid: %d\n\n", []string{"even", "odd"}[i%2], i, i)
	}
}

func subscribe(t *testing.T, d *client.Dispatcher, cfg client.SubscribeConfig) *client.Subscription {
	t.Helper()
	s, err := d.Subscribe(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func collect(events iter.Seq2[client.Event, error]) (ids []string, err error) {
	for event, err := range events {
		if err != nil {
			return ids, err
		}
		ids = append(ids, event.LastEventID)
	}
	return ids, nil
}

func numbers(from, through, step int) (ids []string) {
	for i := from; i <= through; i += step {
		ids = append(ids, strconv.Itoa(i))
	}
	return ids
}

func TestSubscriptionsReceiveTheirTypesInOrder(t *testing.T) {
	t.Parallel()
	d := client.NewDispatcher(newWriterClient(t, func(w io.Writer, after int) { count(w, after, 1000) }))
	all, odd := subscribe(t, d, client.SubscribeConfig{}), subscribe(t, d, client.SubscribeConfig{Types: []string{"odd", "strange"}})
	none := subscribe(t, d, client.SubscribeConfig{Types: []string{"strange"}})
	var wg sync.WaitGroup
	for s, want := range map[*client.Subscription][]string{all: numbers(1, 1000, 1), odd: numbers(1, 1000, 2), none: nil} {
		wg.Go(func() {
			if got, err := collect(s.Events(t.Context())); err != nil || !slices.Equal(got, want) {
				t.Errorf("%d events, %v, want %d: %v", len(got), err, len(want), got)
			}
		})
	}
	if err := d.Run(t.Context()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	// An ended subscription stays ended.
	if got, err := collect(subscribe(t, d, client.SubscribeConfig{}).Events(t.Context())); err != nil || len(got) != 0 {
		t.Errorf("after the end: %v, %v", got, err)
	}
	if d.Run(t.Context()) == nil {
		t.Error("Run ran twice")
	}
}

// A slow subscription ends with its position, and does not affect the others.
func TestSlowSubscriptionEndsAndDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	write := func(w io.Writer, after int) { count(w, after, 100) }
	d := client.NewDispatcher(newWriterClient(t, write))
	slow := subscribe(t, d, client.SubscribeConfig{Types: []string{"odd"}, MaxQueued: 10})
	others := subscribe(t, d, client.SubscribeConfig{MaxQueued: 100})
	if err := d.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := collect(others.Events(t.Context())); err != nil || len(got) != 100 {
		t.Errorf("the others have %d events, %v", len(got), err)
	}
	got, err := collect(slow.Events(t.Context()))
	if want := numbers(1, 19, 2); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	var slowness *client.SlowError
	if !errors.As(err, &slowness) || slowness.LastEventID != "20" { // a skipped event
		t.Fatalf("the error is %#v", err)
	}
	// A client that resumes from there misses no event.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		write(w, after)
	}))
	defer server.Close()
	again, err := client.New(client.Config{URL: server.URL, LastEventID: slowness.LastEventID, NoReconnect: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := collect(again.Events(t.Context())); err != nil || !slices.Equal(got, numbers(21, 100, 1)) {
		t.Errorf("again: %v, %v", got, err)
	}
}

func TestSubscriptionsEndWithTheErrorOfRun(t *testing.T) {
	t.Parallel()
	d := client.NewDispatcher(newWriterClient(t, func(w io.Writer, _ int) {
		count(w, 0, 3)
		io.WriteString(w, "event: sse.close\ndata: {\"reason\":\"signed out\",\"reconnect\":false}\n\n")
	}))
	s := subscribe(t, d, client.SubscribeConfig{})
	var closed *client.ClosedError
	if err := d.Run(t.Context()); !errors.As(err, &closed) || closed.Reason != "signed out" {
		t.Errorf("Run returned %v", err)
	}
	closed = nil
	if got, err := collect(s.Events(t.Context())); len(got) != 4 || !errors.As(err, &closed) {
		t.Errorf("%d events, %v", len(got), err)
	}
}

// Subscriptions open and close within their loops, while events arrive. No loop hangs, and no
// subscription misses an event.
func TestSubscriptionsOpenAndCloseWhileEventsArrive(t *testing.T) {
	t.Parallel()
	const events = 5000
	begin := make(chan struct{})
	d := client.NewDispatcher(newWriterClient(t, func(w io.Writer, _ int) {
		<-begin
		count(w, 0, events)
	}))
	steady := subscribe(t, d, client.SubscribeConfig{MaxQueued: events})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := d.Run(t.Context()); err != nil {
			t.Error(err)
		}
	})
	for range 8 {
		wg.Go(func() {
			for range 200 {
				s, err := d.Subscribe(client.SubscribeConfig{MaxQueued: events})
				if err != nil {
					t.Error(err)
					return
				}
				last := 0
				for event, err := range s.Events(t.Context()) {
					n, _ := strconv.Atoi(event.Data)
					if err != nil || last != 0 && n != last+1 {
						t.Errorf("%d after %d, %v", n, last, err)
					}
					if last = n; n%7 == 0 {
						s.Close()
						s.Close()
					}
				}
			}
		})
	}
	close(begin)
	if got, err := collect(steady.Events(t.Context())); err != nil || !slices.Equal(got, numbers(1, events, 1)) {
		t.Errorf("%d events, %v", len(got), err)
	}
	wg.Wait()
}

func TestSubscriptionContinuesAfterItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		more := make(chan int)
		server := ssetest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			last := 0
			for n := range more {
				count(w, last, n)
				last = n
				_ = http.NewResponseController(w).Flush()
			}
		}))
		c, err := client.New(client.Config{URL: server.URL, HTTPClient: server.Client, NoReconnect: true})
		if err != nil {
			t.Fatal(err)
		}
		d := client.NewDispatcher(c)
		s := subscribe(t, d, client.SubscribeConfig{})
		go func() { _ = d.Run(t.Context()) }()
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			synctest.Wait() // the loop waits for an event
			cancel(errors.New("enough"))
		}()
		if got, err := collect(s.Events(ctx)); len(got) != 0 || err == nil || err.Error() != "enough" {
			t.Errorf("%v, %v", got, err)
		}
		more <- 3
		for event := range s.Events(t.Context()) {
			if event.Data == "2" {
				break
			}
		}
		go func() {
			synctest.Wait() // the loop has event 3, and waits
			s.Close()
		}()
		if got, err := collect(s.Events(t.Context())); err != nil || strings.Join(got, " ") != "3" {
			t.Errorf("%v, %v", got, err)
		}
		close(more)
	})
}

// After a gap an event of any type may be missing, so every subscription gets sse.gap.
func TestGapComesToEverySubscription(t *testing.T) {
	t.Parallel()
	d := client.NewDispatcher(newWriterClient(t, func(w io.Writer, _ int) {
		io.WriteString(w, "event: sse.open\ndata: {}\n\nevent: sse.gap\ndata: {}\nid: 9\n\nevent: comment\ndata: a\n\n")
	}))
	types := []string{"comment"}
	s := subscribe(t, d, client.SubscribeConfig{Types: types})
	types[0] = "other" // Subscribe must have copied the slice
	if err := d.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for event, err := range s.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, event.Type)
	}
	if !slices.Equal(got, []string{"sse.gap", "comment"}) {
		t.Errorf("got %q", got)
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	d := client.NewDispatcher(newWriterClient(t, func(w io.Writer, _ int) {
		for i := range 3 {
			fmt.Fprintf(w, "data: %s\nid: %d\n\n", strings.Repeat("x", 1000), i)
		}
	}))
	s := subscribe(t, d, client.SubscribeConfig{MaxQueuedBytes: 2000})
	one := subscribe(t, d, client.SubscribeConfig{MaxQueuedBytes: 10})
	if err := d.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for s, want := range map[*client.Subscription][]string{s: {"0", "1"}, one: {"0"}} {
		got, err := collect(s.Events(t.Context()))
		if slowness := (*client.SlowError)(nil); !errors.As(err, &slowness) || !slices.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
}

// A closed subscription yields neither queued events nor the error of Run.
func TestClosedSubscriptionYieldsNothing(t *testing.T) {
	t.Parallel()
	d := client.NewDispatcher(newWriterClient(t, func(w io.Writer, _ int) {
		count(w, 0, 3)
		io.WriteString(w, "event: sse.close\ndata: {\"reason\":\"signed out\",\"reconnect\":false}\n\n")
	}))
	before, after := subscribe(t, d, client.SubscribeConfig{}), subscribe(t, d, client.SubscribeConfig{})
	before.Close()
	if err := d.Run(t.Context()); err == nil {
		t.Error("Run has no error")
	}
	after.Close()
	for _, s := range []*client.Subscription{before, after} {
		if got, err := collect(s.Events(t.Context())); err != nil || len(got) != 0 {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

// Each event is sent only after the previous one was received, so a lost wake-up would hang.
func TestNoWakeUpIsLost(t *testing.T) {
	t.Parallel()
	const events = 5000
	next := make(chan int, 1)
	next <- 1
	d := client.NewDispatcher(newWriterClient(t, func(w io.Writer, _ int) {
		for n := range next {
			count(w, n-1, n)
			_ = http.NewResponseController(w.(http.ResponseWriter)).Flush()
		}
	}))
	defer close(next)
	s := subscribe(t, d, client.SubscribeConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const patience = 30 * time.Second // for one event, of those that a busy machine sends slowly
	hangs := time.AfterFunc(patience, cancel)
	defer hangs.Stop()
	go func() { _ = d.Run(ctx) }()
	last := 0
	for event, err := range s.Events(ctx) {
		if err != nil {
			t.Fatalf("%v after %d", err, last)
		}
		last++
		if event.Data != strconv.Itoa(last) {
			t.Fatalf("got event %s, want %d", event.Data, last)
		}
		if last == events {
			break
		}
		hangs.Reset(patience)
		next <- last + 1
	}
}

func TestSubscribeRefusesInvalidConfigs(t *testing.T) {
	t.Parallel()
	d := client.NewDispatcher(newWriterClient(t, func(io.Writer, int) {}))
	for field, cfg := range map[string]client.SubscribeConfig{"MaxQueued": {MaxQueued: -1}, "MaxQueuedBytes": {MaxQueuedBytes: -1}, "Types": {Types: []string{"comment", ""}}} {
		if _, err := d.Subscribe(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
