package servers_test

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// TestContestantsKeepIdleStreamsAlive tries again if heartbeats come together: that of a machine that was busy
// for a part of the interval.
func TestContestantsKeepIdleStreamsAlive(t *testing.T) {
	each(t, func(t *testing.T, c servers.Contestant) {
		if c.Kind == report.Peer {
			t.Skip("it has no heartbeats")
		}
		const interval = 400 * time.Millisecond
		_, addr := start(t, c, servers.Settings{Heartbeat: interval})
		fault := ""
		for range 5 {
			if fault = heartbeatsTogether(t, addr, interval); c.Kind == report.Kit {
				return // it spreads heartbeats over a quarter of the interval only
			}
			if fault == "" {
				return
			}
		}
		t.Error(fault)
	})
}

// heartbeatsTogether waits for two heartbeats of each of some streams. It says how the first ones are not
// spread over the interval, or returns "".
func heartbeatsTogether(t *testing.T, addr string, interval time.Duration) (fault string) {
	t.Helper()
	readers := make([]*client, 32)
	opened := make([]time.Time, len(readers))
	for i := range readers {
		opened[i] = time.Now()
		readers[i] = open(t, addr, "", servers.UserName(i), "")
	}
	soonest := patience
	var firsts []time.Time
	for i, reader := range readers {
		first := reader.heartbeat()
		firsts = append(firsts, first)
		soonest = min(soonest, first.Sub(opened[i]))
		if second := reader.heartbeat(); second.Before(first) {
			t.Errorf("stream %d: %v is before %v", i, second, first)
		}
		reader.close()
	}
	// Timers that start with the stream would all fire after a whole interval.
	if most := interval * 3 / 4; soonest > most {
		return fmt.Sprintf("the first heartbeat of %d streams comes after %v, want at most %v", len(readers), soonest, most)
	}
	slices.SortFunc(firsts, time.Time.Compare)
	half := len(firsts) / 2
	for i := range half {
		if d := firsts[i+half].Sub(firsts[i]); d < interval/40 {
			return fmt.Sprintf("half of %d streams have their heartbeats within %v of %v", len(firsts), d, interval)
		}
	}
	return ""
}

// firstListener closes a channel when the server closes the listener's first connection.
type firstListener struct {
	net.Listener

	accepted atomic.Int64
	closed   chan struct{}
}

func (l *firstListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil || l.accepted.Add(1) > 1 {
		return conn, err
	}
	return firstConn{conn.(*net.TCPConn), sync.OnceFunc(func() { close(l.closed) })}, nil
}

type firstConn struct {
	*net.TCPConn

	onClose func()
}

func (c firstConn) Close() error {
	defer c.onClose()
	return c.TCPConn.Close()
}

func TestContestantsWithWriteDeadlinesCloseStalledStreams(t *testing.T) {
	each(t, func(t *testing.T, c servers.Contestant) {
		if c.Kind != report.Kit && c.Kind != report.Hand {
			t.Skip("it has no write deadline")
		}
		// That is enough for the other reader, even on a busy machine.
		ended := make(chan struct{})
		s, addr := startOn(t, c, servers.Settings{SendBuffer: 8 << 10, WriteTimeout: 4 * time.Second}, func(l net.Listener) net.Listener {
			return &firstListener{Listener: l, closed: ended}
		})
		token, err := servers.Token("user-0")
		if err != nil {
			t.Fatal(err)
		}
		stalled, response, err := request(t, addr, servers.AllQuery, "Bearer "+token, "")
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%+v, %v", response, err)
		}
		if err := stalled.(*net.TCPConn).SetReadBuffer(8 << 10); err != nil {
			t.Fatal(err)
		}
		reader := open(t, addr, servers.AllQuery, "user-1", "")
		reader.awaitSubscription(s.Broadcast)
		// Several times what the sockets and a channel buffer.
		const events = 400
		sent := make(chan error, 1)
		go func() {
			for i := range events {
				if err := s.Broadcast(servers.AppendData(nil, i, 0, 16<<10)); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		for i := range events {
			if e := reader.next(); e.number != i {
				t.Fatalf("received %v, want event %d", e, i)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the stalled stream is still open")
		}
	})
}
