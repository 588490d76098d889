package load

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ginsse/ginsse/bench/internal/servers"
)

func TestLoaderPreparesWithoutConnecting(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	if _, err := l.Open(); err == nil {
		t.Error("Open succeeds without Prepare")
	}
	args := OpenArgs{Addrs: []string{addr}, Streams: 2, InFlight: 1, Limit: patience}
	if err := l.Prepare(args); err != nil {
		t.Fatal(err)
	}
	for i, s := range l.streams {
		if s.fd != 0 {
			t.Errorf("stream %d is connected", i)
		}
	}
	begun := time.Now()
	if took, err := l.Open(); err != nil || took <= 0 || took > time.Since(begun) {
		t.Errorf("it took %v, %v", took, err)
	}
	for range args.Streams {
		within(t, "a stream", streams)
	}
	if _, err := l.Open(); err == nil {
		t.Error("Open succeeds twice")
	}
	if err := l.Prepare(args); err == nil || err.Error() != "stream 0 is still open" {
		t.Errorf("with open streams the error is %v", err)
	}
	l.Close()
	if err := l.Prepare(args); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func TestLoaderConnectsToServersInTurn(t *testing.T) {
	t.Parallel()
	var addrs []string
	var ends [3]<-chan *served
	for i := range ends {
		var addr string
		addr, ends[i] = startServer(t)
		addrs = append(addrs, addr)
	}
	// The first one is the second of its server.
	const first, from = 4, "127.0.1.7"
	args := OpenArgs{Addrs: addrs, From: from, First: first, Streams: 3, InFlight: 1, Limit: patience}
	if _, err := openAll(newLoader(t), args); err != nil {
		t.Fatal(err)
	}
	for i := range args.Streams {
		s := within(t, "a stream", ends[(first+i)%3])
		if s.user != servers.UserName(first+i) || !strings.HasPrefix(s.from, from+":") {
			t.Errorf("stream %d is of %s from %s", i, s.user, s.from)
		}
	}
}

func TestLoaderPrepareRejectsInvalidArguments(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args OpenArgs
		want string
	}{
		"no_address": {OpenArgs{Addrs: []string{"localhost"}, Streams: 1}, `not an ip:port`},
		"no_server":  {OpenArgs{Streams: 1}, "no server is given"},
		"no_source":  {OpenArgs{Addrs: []string{"127.0.0.1:1"}, From: "here", Streams: 1}, `"here"`},
		"too_many":   {OpenArgs{Addrs: []string{"127.0.0.1:1"}, Streams: 1 << 40}, "RLIMIT_NOFILE: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := newLoader(t).Prepare(test.args); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %s", err, test.want)
			}
		})
	}
}

func TestPrepareResetsTheCounts(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 1, Expect: 3}, streams)
	ends[0].write(t, 0, 3)
	if got := wait(t, l); got.Delivered != 3 || got.Missing != 0 {
		t.Fatalf("%+v, %d missing", got.Tally, got.Missing)
	}
	l.Close()
	open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2}, streams)
	if got := l.Outcome(); got.Tally != (Tally{}) || got.Missing != 0 || got.Closed != 0 {
		t.Errorf("fresh streams have %+v, %d missing, %d closed", got.Tally, got.Missing, got.Closed)
	}
}

func TestLoaderOpenCountsStreamsThatEndAtOnce(t *testing.T) {
	t.Parallel()
	const streams = 8
	addr := start(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
	})
	l := newLoader(t)
	if _, err := openAll(l, OpenArgs{Addrs: []string{addr}, Streams: streams, InFlight: 4, Limit: patience}); err != nil {
		t.Fatal(err)
	}
	// Some have ended while others were opened; the rest may still have to be read.
	for rested := time.Duration(0); rested < patience && l.Outcome().Closed < streams; rested += 10 * time.Millisecond {
		if err := l.Rest(10 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.Outcome().Closed; got != streams {
		t.Errorf("%d of %d streams have been ended", got, streams)
	}
}

func TestLoaderGivesStalledStreamsTheBufferThatIsAskedFor(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	const small = 10 << 10
	open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2, Stalled: 1, ReceiveBuffer: small}, streams)
	var sizes [2]int
	for i, s := range l.streams {
		bytes, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		if err != nil {
			t.Fatal(err)
		}
		sizes[i] = bytes / 2 // the kernel doubles what it is given
	}
	if sizes[0] != small || sizes[1] <= small {
		t.Errorf("the stalled one has %d bytes, and the one that reads %d, want %d for the first", sizes[0], sizes[1], small)
	}
}

func TestLoaderResumesWithLastEventIDs(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2, KeepIDs: true, Expect: 3}, streams)
	ends[0].write(t, 0, 3)
	ends[1].write(t, 0, 3)
	if got := wait(t, l); got.Delivered != 6 {
		t.Fatalf("%+v before they leave", got.Tally)
	}
	l.Close()
	for _, end := range ends {
		within(t, "the end of a stream", end.disconnected)
	}
	ends = open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 2, KeepIDs: true, Resume: true, Expect: 5}, streams)
	for i, end := range ends {
		if len(end.lastEventID) != 1 || end.lastEventID[0] != "e2" {
			t.Errorf("stream %d resumes with %q", i, end.lastEventID)
		}
		end.write(t, 2, 5)
	}
	got := wait(t, l)
	if want := (Tally{Delivered: 4, Repeated: 2}); got.Tally != want || got.Missing != 0 || got.Closed != 0 {
		t.Errorf("%+v, %d missing, %d closed, want %+v", got.Tally, got.Missing, got.Closed, want)
	}
	l.Close()
	if _, err := openAll(l, OpenArgs{Addrs: []string{addr}, Streams: 3, Resume: true, InFlight: 1, Limit: patience}); err == nil {
		t.Error("more streams resume than there were")
	}
}

func TestLoaderResumesWithoutAnIDIfThereWasNone(t *testing.T) {
	t.Parallel()
	addr, streams := startServer(t)
	l := newLoader(t)
	open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 1, KeepIDs: true}, streams)
	l.Close()
	ends := open(t, l, OpenArgs{Addrs: []string{addr}, Streams: 1, KeepIDs: true, Resume: true}, streams)
	if ends[0].lastEventID != nil {
		t.Errorf("the stream resumes with %q", ends[0].lastEventID)
	}
}

func TestLoaderOpenFailsWithoutAnEventStream(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		limit   time.Duration
		want    string
	}{
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no", http.StatusForbidden)
		}, patience, `0 of 2 streams open: stream 0: not an event stream: "HTTP/1.1 403 Forbidden`},
		"hung_up": {func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, patience, "0 of 2 streams open: stream 0: ended before its headers"},
		"silence": {func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, 30 * time.Millisecond, "0 of 2 streams open: time limit exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLoader(t)
			_, err := openAll(l, OpenArgs{Addrs: []string{start(t, test.handler)}, Streams: 2, InFlight: 1, Limit: test.limit})
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("the error is %v, want %s", err, test.want)
			}
			if name == "silence" && !errors.Is(err, errLimit) {
				t.Errorf("%v is not errLimit", err)
			}
		})
	}
}
