//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/internal/loadtest"
)

// clients are streams that reconnect like pages, and check what arrives, and a sender of events to them.
type clients struct {
	stop   context.CancelFunc
	open   atomic.Int64
	result loadtest.Result
	err    error
	done   chan struct{} // closed when result and err are final
}

// load says what clients do.
type load struct {
	streams int     // of as many users
	rate    float64 // events a second, to the users in turn
	body    string  // of each event beside its mark
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	send    func(ctx context.Context, network, address string) (net.Conn, error) // if it is not dial
}

// openTimeout is how long the streams may take to open. The longest case takes some seconds.
const openTimeout = time.Minute

// startClients opens the streams, and returns when they are open.
func (s *scene) startClients(ctx context.Context, l load) (*clients, error) {
	if l.send == nil {
		l.send = l.dial
	}
	transport := &http.Transport{DialContext: l.send, MaxIdleConnsPerHost: 4}
	cfg := loadtest.Config{
		URL:     &url.URL{Scheme: "http", Host: "node", Path: "/events"},
		Streams: l.streams, Rate: 200, Settle: 5 * time.Second, Dial: l.dial,
		Send: &loadtest.Send{
			URL: "http://node/send/" + loadtest.PlaceholderUser, Header: http.Header{}, Body: loadtest.PlaceholderMark + l.body,
			Rate: l.rate, Parallel: 2, Client: &http.Client{Transport: transport},
		},
	}
	for i := range l.streams {
		name := fmt.Sprint("user", i)
		cfg.Users = append(cfg.Users, loadtest.User{Token: name, Name: name})
	}
	c := &clients{done: make(chan struct{})}
	cfg.Progress = func(p loadtest.Progress) { c.open.Store(int64(p.Open)) }
	ctx, c.stop = context.WithCancel(ctx)
	go func() {
		defer close(c.done)
		defer transport.CloseIdleConnections()
		c.result, c.err = loadtest.Run(ctx, cfg)
	}()
	s.atEnd(func() { _, _ = c.end() })
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(openTimeout)
	defer late.Stop()
	for c.open.Load() < int64(l.streams) {
		select {
		case <-tick.C:
		case <-c.done:
			return nil, fmt.Errorf("the clients have ended: %w", c.err)
		case <-late.C:
			return nil, s.notOpen(c, l.streams)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return c, nil
}

// notOpen says why streams may not have opened.
func (s *scene) notOpen(c *clients, want int) error {
	open := c.open.Load()
	result, err := c.end()
	var text strings.Builder
	fmt.Fprintf(&text, "after %v, %d of %d streams are open; errors %v, ends %v, %v", openTimeout, open, want, result.Errors, result.Ends, err)
	for _, n := range s.nodes {
		written, _ := os.ReadFile(n.run.log)
		fmt.Fprintf(&text, "\n%s at %s has written: %s", n.cfg.Name, n.cfg.Address, lastBytes(written, 1000))
	}
	return errors.New(text.String())
}

// end sends nothing more, waits for what is on its way, and returns what has arrived. It may be repeated.
func (c *clients) end() (loadtest.Result, error) {
	c.stop()
	<-c.done
	return c.result, c.err
}

// problems says what a page would not have noticed: events that are missing without a gap, that came
// twice, out of order, or to another user.
func problems(r loadtest.Result) (found []string) {
	add := func(n int, what string) {
		if n > 0 {
			found = append(found, fmt.Sprintf("%d events %s", n, what))
		}
	}
	if len(r.Gaps) == 0 { // else the page was told
		add(r.Sent.Missing, "are missing without a gap")
	}
	add(r.Sent.Twice+r.IDs.Repeated, "came twice")
	add(r.IDs.Behind, "came out of order")
	failed := 0
	for _, n := range r.Sent.Failed {
		failed += n
	}
	add(r.Sent.OutOfOrder-failed, "came later than events that were sent after them") // a request that failed may be carried out later
	add(r.Sent.Foreign, "came to another user")
	return found
}

// slowDial returns connections that read at most so many bytes a second, with a small buffer in the kernel.
func slowDial(dial func(ctx context.Context, network, address string) (net.Conn, error), bytesPerSecond int) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			if err := tcp.SetReadBuffer(smallBuffer); err != nil {
				return nil, err
			}
		}
		return &slowConn{Conn: conn, rate: bytesPerSecond}, nil
	}
}

// smallBuffer is the receive buffer of clients that are slow on purpose, in bytes. A larger one would
// take seconds to fill.
const smallBuffer = 32 << 10

// slowConn is a connection over a slow line.
type slowConn struct {
	net.Conn

	rate int
	next time.Time // when the line is free again; of the goroutine that reads
}

// Read implements [net.Conn].
func (c *slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), 4<<10)])
	now := time.Now()
	if c.next.Before(now) {
		c.next = now
	}
	c.next = c.next.Add(time.Duration(n) * time.Second / time.Duration(c.rate))
	time.Sleep(c.next.Sub(now))
	return n, err
}

// stall opens a stream and reads its first bytes, and no others. It closes the connection after a time, or
// when ctx ends.
func stall(ctx context.Context, address, user string, after time.Duration) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetReadBuffer(smallBuffer); err != nil {
			return err
		}
	}
	if err := request(ctx, conn, user); err != nil {
		return err
	}
	if _, err := bufio.NewReaderSize(conn, 16).ReadByte(); err != nil {
		return err
	}
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

// request asks for the stream of a user.
func request(ctx context.Context, conn net.Conn, user string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/events", http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+user)
	r.Header.Set("Accept", "text/event-stream")
	return r.Write(conn)
}

// visit opens a stream and reads it until it ends, or ctx does.
func visit(ctx context.Context, address, user string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	return follow(ctx, conn, user)
}

// slowLine reads the stream of a user over a line that carries 120 KB/s, until ctx ends.
func slowLine(ctx context.Context, address, user string) {
	dial := slowDial(new(net.Dialer).DialContext, 120_000)
	for ctx.Err() == nil {
		if conn, err := dial(ctx, "tcp", address); err == nil {
			_ = follow(ctx, conn, user)
			_ = conn.Close()
		}
		_ = pause(ctx, scaled(3*time.Second))
	}
}

// sleeper reads the stream of a user for 20 s of production and is away for a minute, again and again. It
// resumes each time.
func sleeper(ctx context.Context, address, user string) {
	c, err := client.New(client.Config{
		NewRequest: func(ctx context.Context) (*http.Request, error) {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/events", http.NoBody)
			if err == nil {
				r.Header.Set("Authorization", "Bearer "+user)
			}
			return r, err
		},
		RetryStatus: client.RetryTransient,
	})
	if err != nil {
		panic(err) // the configuration above is wrong
	}
	for ctx.Err() == nil {
		awake, cancel := context.WithTimeout(ctx, scaled(20*time.Second))
		for _, err := range c.Events(awake) {
			if err != nil {
				break
			}
		}
		cancel()
		_ = pause(ctx, scaled(time.Minute))
	}
}

// follow asks for a stream and reads it until it ends, or ctx does.
func follow(ctx context.Context, conn net.Conn, user string) error {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := request(ctx, conn, user); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
