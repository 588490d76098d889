package servers_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/servers"
)

// patience is how long a test waits before it fails.
const patience = 30 * time.Second

// probe is the number of events that a test sends until a stream gets events.
const probe = 999

// received is one event, as a client reads it.
type received struct {
	number int
	id     string
	data   string
}

// client is the reading end of one event stream.
type client struct {
	t          *testing.T
	conn       net.Conn
	header     http.Header
	events     chan received  // closed at the end of the stream
	heartbeats chan time.Time // when the first two arrived
}

// request sends a request over a new connection, without the Authorization header if
// authorization is "".
func request(t *testing.T, addr, query, authorization, lastEventID string) (net.Conn, *http.Response, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r, err := http.NewRequest(http.MethodGet, "http://"+addr+"/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), r)
	return conn, response, err
}

// open opens an event stream.
func open(t *testing.T, addr, query, user, lastEventID string) *client {
	t.Helper()
	token, err := servers.Token(user)
	if err != nil {
		t.Fatal(err)
	}
	conn, response, err := request(t, addr, query, "Bearer "+token, lastEventID)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the status is %s", response.Status)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn, header: response.Header, events: make(chan received, 1024), heartbeats: make(chan time.Time, 2)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.read(bufio.NewScanner(response.Body))
	}()
	t.Cleanup(func() {
		c.close()
		<-done
	})
	return c
}

// read decodes the stream until it ends. It skips events of the server itself.
func (c *client) read(lines *bufio.Scanner) {
	defer close(c.events)
	var e received
	known := false
	for lines.Scan() {
		if text := lines.Text(); text == ": heartbeat" || text == "event: sse.heartbeat" {
			select {
			case c.heartbeats <- time.Now():
			default:
			}
		}
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			e.id = value
		case "data":
			e.data = value
			e.number, _, known = servers.ParseData([]byte(value))
		case "":
			if lines.Text() == "" && known {
				c.events <- e
				known = false
			}
		}
	}
}

func (c *client) close() { _ = c.conn.Close() }

// next returns the next event that is not a probe.
func (c *client) next() received {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, more := <-c.events:
			if !more {
				c.t.Fatal("the stream has ended")
			}
			if e.number != probe {
				return e
			}
		case <-timeout:
			c.t.Fatal("no event in time")
		}
	}
}

// heartbeat waits for one of the first two heartbeats.
func (c *client) heartbeat() (at time.Time) {
	c.t.Helper()
	select {
	case at = <-c.heartbeats:
	case <-time.After(patience):
		c.t.Fatal("no heartbeat in time")
	}
	return at
}

// awaitSubscription sends probes until one arrives. Some libraries answer a request before its stream
// gets events.
func (c *client) awaitSubscription(send func(data []byte) error) {
	c.t.Helper()
	timeout := time.After(patience)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		if err := send(servers.AppendData(nil, probe, 0, 40)); err != nil {
			c.t.Fatal(err)
		}
		select {
		case e, more := <-c.events:
			if !more || e.number != probe {
				c.t.Fatalf("received %+v, want a probe", e)
			}
			return
		case <-again.C:
		case <-timeout:
			c.t.Fatal("the stream gets no events")
		}
	}
}

// sender sends numbered events, all in the same memory, as Control does.
type sender struct {
	t    *testing.T
	data []byte
}

func (s *sender) send(send func([]byte) error, numbers ...int) {
	s.t.Helper()
	for _, number := range numbers {
		s.data = servers.AppendData(s.data[:0], number, 0, eventBytes)
		if err := send(s.data); err != nil {
			s.t.Fatalf("sending event %d: %v", number, err)
		}
	}
}

const eventBytes = 100

// want fails the test unless these events arrive next, in this order and complete.
func (c *client) want(numbers ...int) (last received) {
	c.t.Helper()
	for _, number := range numbers {
		last = c.next()
		whole := string(servers.AppendData(nil, number, 0, eventBytes))
		if last.number != number || last.data != whole {
			c.t.Fatalf("received event %d with the data %q, want %q", last.number, last.data, whole)
		}
	}
	return last
}

func (r received) String() string { return fmt.Sprintf("event %d with the ID %q", r.number, r.id) }
