package servers_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

func TestContestantsKeepIdleStreamsAlive(t *testing.T) {
	each(t, func(t *testing.T, c servers.Contestant) {
		if c.Kind == report.Peer {
			t.Skip("it has no heartbeats")
		}
		const interval = 400 * time.Millisecond
		_, addr := start(t, c, servers.Settings{Heartbeat: interval})
		readers := make([]*client, 32)
		opened := make([]time.Time, len(readers))
		for i := range readers {
			opened[i] = time.Now()
			readers[i] = open(t, addr, "", servers.UserName(i), "")
		}
		soonest := patience
		var firsts []time.Time
		for i, reader := range readers {
			first := reader.beat()
			firsts = append(firsts, first)
			soonest = min(soonest, first.Sub(opened[i]))
			if second := reader.beat(); second.Before(first) {
				t.Errorf("stream %d: %v is before %v", i, second, first)
			}
		}
		if c.Kind == report.Kit {
			return // its jitter is a quarter of the interval
		}
		// What began with its stream would come after a whole interval.
		if most := interval * 3 / 4; soonest > most {
			t.Errorf("of %d streams none has a heartbeat before %v, but after %v", len(readers), most, soonest)
		}
		slices.SortFunc(firsts, time.Time.Compare)
		half := len(firsts) / 2
		for i := range half {
			if d := firsts[i+half].Sub(firsts[i]); d < interval/40 {
				t.Errorf("half of %d streams have their heartbeats within %v of %v", len(firsts), d, interval)
			}
		}
	})
}

// impatient shortens the write deadline of the first connection of a listener: ten
// seconds are 0.2.
type impatient struct {
	net.Listener

	accepted atomic.Int64
}

func (l *impatient) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil || l.accepted.Add(1) > 1 {
		return conn, err
	}
	return impatientConn{conn.(*net.TCPConn)}, nil
}

type impatientConn struct{ *net.TCPConn }

func (c impatientConn) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() {
		at = time.Now().Add(time.Until(at) / 50)
	}
	return c.TCPConn.SetWriteDeadline(at)
}

func TestContestantsWithWriteDeadlinesCutStalledReaders(t *testing.T) {
	each(t, func(t *testing.T, c servers.Contestant) {
		if c.Kind != report.Kit && c.Kind != report.Hand {
			t.Skip("it has no write deadline")
		}
		s, addr := startOn(t, c, servers.Settings{SendBuffer: 8 << 10}, func(l net.Listener) net.Listener {
			return &impatient{Listener: l}
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
		reader.settle(s.Broadcast)
		// Several times what the sockets and a channel hold.
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
				t.Fatalf("%v comes, want event %d", e, i)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		// It has been cut: what is left in the sockets has an end.
		if _, err := io.Copy(io.Discard, stalled); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the stalled stream is still open: %v", err)
		}
	})
}
