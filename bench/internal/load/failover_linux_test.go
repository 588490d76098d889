package load

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// failOver starts Failover, and returns its result in a channel.
func failOver(l *Loader, addrs ...string) <-chan failedOver {
	done := make(chan failedOver, 1)
	go func() {
		f, err := l.Failover(FailoverArgs{Addrs: addrs, InFlight: 1, Limit: patience, Quiet: patience})
		done <- failedOver{f, err}
	}()
	return done
}

type failedOver struct {
	Failover

	err error
}

func TestFailoverResumesEndedStreamsElsewhere(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*served){
		"properly": func(s *served) { close(s.do) },
		"abruptly": func(s *served) {
			s.do <- func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, atOne := startServer(t)
			other, atOther := startServer(t)
			l := newLoader(t)
			ends := open(t, l, OpenArgs{Addrs: []string{one}, Streams: 3, KeepIDs: true}, atOne)
			l.Expect(6, 0)
			begun := time.Now()
			done := failOver(l, other)
			ends[0].write(t, 0, 3)
			ends[1].write(t, 0, 6) // it ends when it has all
			ends[2].write(t, 0, 6)
			end(ends[0])
			end(ends[1])
			lastIDs := map[string]string{"user-0": "e2", "user-1": "e5"}
			back := map[string]*served{}
			for range lastIDs {
				s := within(t, "a stream", atOther)
				if len(s.lastEventID) != 1 || s.lastEventID[0] != lastIDs[s.user] {
					t.Errorf("%s resumes with %q, want %s", s.user, s.lastEventID, lastIDs[s.user])
				}
				back[s.user] = s
			}
			back["user-0"].write(t, 2, 6)
			f := within(t, "the end of Failover", done)
			if f.err != nil || f.Reconnected != 2 || f.Back.Before(begun) || f.Back.After(time.Now()) {
				t.Errorf("%+v", f)
			}
			got := l.Outcome()
			if want := (Tally{Delivered: 18, Repeated: 1}); got.Tally != want || got.Missing != 0 || got.Closed != 0 {
				t.Errorf("%+v, %d missing, %d closed, want %+v", got.Tally, got.Missing, got.Closed, want)
			}
		})
	}
}

func TestFailoverCountsLostEvents(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 1, KeepIDs: true}, streams)
	l.Expect(6, 0)
	done := failOver(l, addr)
	ends[0].write(t, 0, 2)
	close(ends[0].do)
	within(t, "a stream", streams).write(t, 3, 6)
	if f := within(t, "the end of Failover", done); f.err != nil || f.Reconnected != 1 {
		t.Errorf("%+v", f)
	}
	if got := l.Outcome(); got.Tally != (Tally{Delivered: 5, Lost: 1}) || got.Missing != 0 {
		t.Errorf("%+v, %d missing", got.Tally, got.Missing)
	}
}

func TestFailoverWithoutAnEndedStreamIsWait(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 1}, streams)
	l.Expect(1, 0)
	done := failOver(l, addr)
	ends[0].write(t, 0, 1)
	if f := within(t, "the end of Failover", done); f.err != nil || f.Reconnected != 0 || !f.Back.IsZero() {
		t.Errorf("%+v", f)
	}
	// Afterwards a stream that ends does not reconnect.
	close(ends[0].do)
	for rested := time.Duration(0); rested < patience && l.Outcome().Closed == 0; rested += 10 * time.Millisecond {
		if err := l.Rest(10 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.Outcome(); got.Closed != 1 {
		t.Errorf("%d streams have been ended", got.Closed)
	}
}

func TestFailoverEndsAtItsLimit(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	silent := start(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2}, streams)
	l.Expect(1, 0)
	close(ends[0].do)
	close(ends[1].do)
	f, err := l.Failover(FailoverArgs{Addrs: []string{silent}, InFlight: 1, Limit: 50 * time.Millisecond, Quiet: patience})
	if err != nil || f.Reconnected != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	if got := l.Outcome(); got.Missing != 2 {
		t.Errorf("%+v, %d missing", got.Tally, got.Missing)
	}
}

func TestFailoverFailsIfAServerRefuses(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	refusing := start(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	for name, test := range map[string]struct{ addr, want string }{
		"forbidden":  {refusing, "403 Forbidden"},
		"no_server":  {"127.0.0.1:1", "reconnecting stream 0: connection refused"},
		"no_address": {"localhost", "not an ip:port"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoader(t)
			ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 1}, streams)
			l.Expect(1, 0)
			done := failOver(l, test.addr)
			close(ends[0].do)
			if f := within(t, "the end of Failover", done); f.err == nil || errors.Is(f.err, errLimit) || !strings.Contains(f.err.Error(), test.want) {
				t.Errorf("the error is %v, want %s", f.err, test.want)
			}
		})
	}
}
