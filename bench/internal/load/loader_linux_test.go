package load

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sys/unix"

	"github.com/ginsse/ginsse/bench/internal/servers"
	"github.com/ginsse/ginsse/internal/loadtest"
)

// patience is how long a test waits before it fails.
const patience = 30 * time.Second

// within receives from ch, and fails the test if that takes too long.
func within[T any](t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("%s: not in time", what)
	}
	return v
}

// served is the server's end of one event stream. The handler runs functions of the test.
// It returns when the test closes do, or when the client has disconnected.
type served struct {
	user         string
	from         string // address of the client
	query        string
	lastEventID  []string // values of the header
	do           chan func(w http.ResponseWriter)
	disconnected <-chan struct{} // closed when the client has disconnected
}

// write makes the handler write events, and waits until it has.
func (s *served) write(t *testing.T, first, end int) {
	t.Helper()
	s.writeAs(t, first, end, time.Now().UnixNano())
}

// writeLast writes an event that is marked as the last of its series.
func (s *served) writeLast(t *testing.T, i int) {
	t.Helper()
	s.writeAs(t, i, i+1, servers.LastNanos)
}

func (s *served) writeAs(t *testing.T, first, end int, nanos int64) {
	t.Helper()
	done := make(chan error, 1)
	s.do <- func(w http.ResponseWriter) {
		for i := first; i < end; i++ {
			data := servers.AppendData(nil, i, nanos, 100)
			_, _ = fmt.Fprintf(w, "id: e%d\ndata: %s\n\n", i, data)
		}
		done <- http.NewResponseController(w).Flush()
	}
	if err := within(t, "a write", done); err != nil {
		t.Fatal(err)
	}
}

// startServer starts a server, and returns its ends of the streams in a channel.
func startServer(t *testing.T) (addr string, streams <-chan *served) {
	t.Helper()
	opened := make(chan *served, 16)
	return start(t, func(w http.ResponseWriter, r *http.Request) {
		claims := jwt.MapClaims{}
		_, err := jwt.ParseWithClaims(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), claims,
			func(*jwt.Token) (any, error) { return servers.Secret, nil })
		if err != nil {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		s := &served{
			user: claims["sub"].(string), from: r.RemoteAddr, query: r.URL.RawQuery, lastEventID: r.Header["Last-Event-Id"],
			do: make(chan func(http.ResponseWriter)), disconnected: r.Context().Done(),
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		opened <- s
		for {
			select {
			case do, more := <-s.do:
				if !more {
					return
				}
				do(w)
			case <-s.disconnected:
				return
			}
		}
	}), opened
}

func start(t *testing.T, handler http.HandlerFunc) (addr string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.Listener.Addr().String()
}

// newLoader returns a loader whose streams are closed at the end of the test.
func newLoader(t *testing.T) *Loader {
	t.Helper()
	l, err := NewLoader()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		_ = unix.Close(l.epoll)
	})
	return l
}

// openAll calls Prepare and Open, as the driver does.
func openAll(l *Loader, args OpenArgs) (took time.Duration, err error) {
	if err := l.Prepare(args); err != nil {
		return 0, err
	}
	return l.Open()
}

// open opens streams, and returns the server's ends of them in the loader's order. The
// handlers may send them to the channel in another order.
func open(t *testing.T, l *Loader, args OpenArgs, streams <-chan *served) []*served {
	t.Helper()
	args.InFlight, args.Limit = 1, patience
	if _, err := openAll(l, args); err != nil {
		t.Fatal(err)
	}
	byUser := map[string]*served{}
	for range args.Streams {
		end := within(t, "a stream", streams)
		byUser[end.user] = end
	}
	ends := make([]*served, args.Streams)
	for i := range ends {
		user := servers.UserName(args.First + i)
		if ends[i] = byUser[user]; ends[i] == nil {
			t.Fatalf("there is no stream of %s, only %v", user, byUser)
		}
	}
	return ends
}

func wait(t *testing.T, l *Loader) Outcome {
	t.Helper()
	if _, err := l.Wait(patience, patience); err != nil {
		t.Fatal(err)
	}
	return l.Outcome()
}

func TestLoaderWaitsForWhatIsExpected(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 3, All: true}, streams)
	if "?"+ends[0].query != servers.AllQuery || ends[0].lastEventID != nil {
		t.Errorf("the query is %q and the last event ID %q", ends[0].query, ends[0].lastEventID)
	}
	for series := range 2 {
		l.Expect(10*(series+1), 0)
		if got := l.Outcome(); got.Missing != 30 || got.Delivered != 0 {
			t.Fatalf("before series %d: %+v", series, got.Tally)
		}
		start := time.Now()
		for _, end := range ends {
			end.write(t, 10*series, 10*(series+1))
		}
		last, err := l.Wait(patience, patience)
		if err != nil || last.Before(start) || last.After(time.Now()) {
			t.Errorf("series %d ends at %v, %v", series, last, err)
		}
		got := l.Outcome()
		if want := (Tally{Delivered: 30}); got.Tally != want || got.Missing != 0 || got.Closed != 0 {
			t.Errorf("series %d: %+v, %d missing, %d closed", series, got.Tally, got.Missing, got.Closed)
		}
		if got.Bytes != 30*100 {
			t.Errorf("series %d: %d bytes of data", series, got.Bytes)
		}
		if p99 := got.Latency.Quantile(0.99); p99 <= 0 || p99 > patience {
			t.Errorf("series %d: the 99th percentile of the latency is %v", series, p99)
		}
	}
}

func TestLoaderExpectsItsShareForEachUser(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 3}, streams)
	if ends[0].query != "" {
		t.Errorf("the query is %q", ends[0].query)
	}
	l.Expect(7, 3)
	if got := l.Outcome(); got.Missing != 7 {
		t.Fatalf("%d of 7 events are missing before the first", got.Missing)
	}
	for i, share := range []int{3, 2, 2} {
		ends[i].write(t, 0, share)
	}
	if got := wait(t, l); got.Delivered != 7 || got.Missing != 0 {
		t.Errorf("%+v, %d missing", got.Tally, got.Missing)
	}
}

func TestLoaderExpectsTheShareOfItsOwnUsers(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	// The users are 0 to 4, of whom these are 3 and 4.
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2, First: 3}, streams)
	l.Expect(9, 5)
	for i, share := range []int{2, 1} {
		ends[i].write(t, 0, share)
	}
	if got := wait(t, l); got.Delivered != 3 || got.Missing != 0 {
		t.Errorf("%+v, %d missing", got.Tally, got.Missing)
	}
}

func TestOutcomeAddsThatOfOtherStreams(t *testing.T) {
	t.Parallel()
	sum := Outcome{Tally{1, 2, 3, 4, 5}, 6, 7, 8, 9, loadtest.Histogram{}}
	other := Outcome{Tally{10, 20, 30, 40, 50}, 60, 70, 80, 90, loadtest.Histogram{}}
	other.Latency.Record(time.Second)
	sum.Add(other)
	want := Outcome{Tally{11, 22, 33, 44, 55}, 66, 77, 88, 99, other.Latency}
	if sum != want {
		t.Errorf("%+v", sum)
	}
}

func TestLoaderStopsAtTheEventMarkedAsLast(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2}, streams)
	l.Expect(Unknown, 0)
	for i, missing := range []int{0, 1} {
		ends[i].write(t, 0, 3-missing)
		ends[i].writeLast(t, 3)
	}
	if got := wait(t, l); got.Delivered != 7 || got.Lost != 1 {
		t.Errorf("%+v", got.Tally)
	}
	l.SetExpected(5, 0)
	if got := l.Outcome(); got.Delivered != 7 || got.Lost != 1 || got.Missing != 2 {
		t.Errorf("of 5 events: %+v, %d missing", got.Tally, got.Missing)
	}
}

func TestLoaderDoesNotReadStalledStreams(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2, Stalled: 1}, streams)
	l.Expect(5, 0)
	ends[0].write(t, 0, 5)
	// When this returns, the client can read what the server wrote.
	ready := []unix.PollFd{{Fd: int32(l.streams[0].fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, int(patience.Milliseconds())); n != 1 || err != nil {
		t.Fatalf("nothing has arrived at the stalled stream: %v", err)
	}
	ends[1].write(t, 0, 5)
	got := wait(t, l)
	if want := (Tally{Delivered: 5}); got.Tally != want || got.Missing != 0 {
		t.Errorf("%+v, %d missing", got.Tally, got.Missing)
	}
	if l.streams[0].next != 0 {
		t.Errorf("the stalled stream has read %d events", l.streams[0].next)
	}
}

func TestLoaderTimesEachRead(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2}, streams)
	l.Expect(1, 0)
	for i, end := range ends {
		end.write(t, 0, 1)
		ready := []unix.PollFd{{Fd: int32(l.streams[i].fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, int(patience.Milliseconds())); n != 1 || err != nil {
			t.Fatalf("nothing has arrived at stream %d: %v", i, err)
		}
	}
	// One poll finds both ready, and the clock advances by a minute each time it is read.
	begun, looks := time.Now(), 0
	l.clock = func() time.Time {
		looks++
		return begun.Add(time.Duration(looks) * time.Minute)
	}
	if err := l.poll(begun.Add(patience)); err != nil {
		t.Fatal(err)
	}
	got := l.Outcome()
	for q, want := range map[float64]time.Duration{0.5: 2 * time.Minute, 1: 3 * time.Minute} {
		if d := got.Latency.Quantile(q); d < want*15/16 || d > want*17/16 {
			t.Errorf("quantile %v of the latency of %d events is %v, want %v", q, got.Delivered, d, want)
		}
	}
	if last := l.last.Sub(begun); last != 3*time.Minute {
		t.Errorf("the last event arrived after %v", last)
	}
}

func TestLoaderCountsGapsAndHeartbeats(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 3}, streams)
	l.Expect(2, 0)
	const gap, comment, heartbeat = "event: sse.gap\ndata: {}\n\n", ": heartbeat\n\n", "event: sse.heartbeat\ndata:\nid: 7\n\n"
	for i, text := range []string{comment + heartbeat, gap + gap, heartbeat + gap} {
		end := ends[i]
		end.do <- func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, text) }
		end.write(t, 0, 1)
		end.write(t, 0, 2)
	}
	got := wait(t, l)
	if want := (Tally{Delivered: 6, Repeated: 3, Gaps: 3, Heartbeats: 3}); got.Tally != want || got.GapStreams != 2 {
		t.Errorf("%+v on %d streams, want %+v on 2", got.Tally, got.GapStreams, want)
	}
	l.Expect(2, 0)
	if got := l.Outcome(); got.Tally != (Tally{}) || got.GapStreams != 0 {
		t.Errorf("in the next series: %+v on %d streams", got.Tally, got.GapStreams)
	}
}

func TestLoaderCountsStreamsThatTheServerEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*served){
		"properly": func(s *served) { close(s.do) },
		"abruptly": func(s *served) {
			s.do <- func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, streams := startServer(t)
			l := newLoader(t)
			ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2}, streams)
			l.Expect(5, 0)
			ends[0].write(t, 0, 5)
			ends[1].write(t, 0, 2)
			end(ends[1])
			if got := wait(t, l); got.Closed != 1 || got.Delivered != 7 || got.Missing != 3 {
				t.Errorf("%+v, %d closed, %d missing", got.Tally, got.Closed, got.Missing)
			}
			// In the next series the loader does not wait for the ended stream.
			l.Expect(6, 0)
			ends[0].write(t, 5, 6)
			if got := wait(t, l); got.Closed != 1 || got.Delivered != 1 || got.Missing != 4 {
				t.Errorf("after the next series: %+v, %d closed, %d missing", got.Tally, got.Closed, got.Missing)
			}
		})
	}
}

// readAll reads until so many events have arrived.
func readAll(t *testing.T, l *Loader, events int) {
	t.Helper()
	for begun := time.Now(); l.Outcome().Delivered < events; {
		if time.Since(begun) > patience {
			t.Fatalf("%+v", l.Outcome().Tally)
		}
		if err := l.Rest(10 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoaderWaitEndsAtItsLimit(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 1}, streams)
	l.Expect(3, 0)
	ends[0].write(t, 0, 2)
	readAll(t, l, 2)
	begun := time.Now()
	if _, err := l.Wait(50*time.Millisecond, patience); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 50*time.Millisecond || took > patience {
		t.Errorf("it took %v", took)
	}
	if got := l.Outcome(); got.Delivered != 2 || got.Missing != 1 {
		t.Errorf("%+v, %d missing", got.Tally, got.Missing)
	}
}

func TestLoaderWaitEndsWithoutEvents(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	const quiet = time.Second
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 1}, streams)
	l.Expect(4, 0)
	ends[0].write(t, 0, 3)
	readAll(t, l, 3)
	begun := time.Now()
	last, err := l.Wait(time.Minute, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < quiet || took > patience || last.Sub(begun) > took-quiet {
		t.Errorf("it took %v, and the last event arrived after %v", took, last.Sub(begun))
	}
	if got := l.Outcome(); got.Delivered != 3 || got.Missing != 1 {
		t.Errorf("%+v, %d missing", got.Tally, got.Missing)
	}
}

func TestLoaderRestReadsEverything(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2}, streams)
	ends[0].write(t, 0, 2)
	close(ends[1].do)
	// Rest takes as long with and without events.
	for rested := time.Duration(0); rested < patience; rested += 20 * time.Millisecond {
		if err := l.Rest(20 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if got := l.Outcome(); got.Delivered == 2 && got.Closed == 1 {
			return
		}
	}
	t.Errorf("%+v", l.Outcome())
}
