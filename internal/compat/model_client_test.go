package compat_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// received is an event with the time at which the client read it.
type received struct {
	ssetest.Event
	at time.Time
}

// clientEnd is the client's end of one connection. It reads only as many bytes as it is allowed to,
// so that a test decides at which byte a reader stalls or disconnects.
type clientEnd struct {
	cancel  context.CancelFunc
	body    io.ReadCloser
	decoder *client.Decoder // used only by the client's goroutine

	mu     sync.Mutex
	more   *sync.Cond // signals more allowance, or that the client left
	allow  int        // bytes that the client may still read; negative: no limit
	leaves bool       // whether the client leaves when the allowance is used up
	left   bool
	events []received
	lastID string        // the decoder's last event ID, which also moves without an event
	retry  time.Duration // the reconnection time
	status string        // of a response that is not a stream
	ended  bool          // the response, or the attempt to get one, has ended
	err    error         // the error at that end
}

var errLeft = errors.New("the client has left")

// dial opens a stream in the background.
func dial(server *ssetest.Server, path string, header http.Header, allow int, leaves bool) (*clientEnd, error) {
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, http.NoBody)
	if err != nil {
		cancel()
		return nil, err
	}
	request.Header = header
	c := &clientEnd{cancel: cancel, allow: allow, leaves: leaves}
	c.more = sync.NewCond(&c.mu)
	c.decoder = client.NewDecoder(c, client.DecoderConfig{MaxEventBytes: -1, Retry: c.setRetry})
	go func() {
		err := c.run(server.Client, request)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended, c.err = true, err
	}()
	return c, nil
}

func (c *clientEnd) run(via *http.Client, request *http.Request) error {
	response, err := via.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "text/event-stream" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.status = fmt.Sprintf("%d of type %q", response.StatusCode, got)
		return nil
	}
	c.body = response.Body
	for {
		e, err := c.decoder.Next()
		c.mu.Lock()
		c.lastID = c.decoder.LastEventID()
		if err == nil {
			c.events = append(c.events, received{e, time.Now()})
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// Read implements io.Reader for the client's own decoder.
func (c *clientEnd) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.lastID = c.decoder.LastEventID()
	for c.allow == 0 && !c.left {
		if c.leaves {
			c.leaveLocked()
			break
		}
		c.more.Wait()
	}
	if c.left {
		c.mu.Unlock()
		return 0, errLeft
	}
	if c.allow > 0 {
		p = p[:min(len(p), c.allow)]
	}
	c.mu.Unlock()
	n, err := c.body.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.allow > 0 {
		c.allow = max(c.allow-n, 0)
	}
	return n, err
}

// setRetry is called by the decoder, which the client's goroutine uses.
func (c *clientEnd) setRetry(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retry = d
}

// permit sets how many bytes the client may read from now on; negative: no limit.
func (c *clientEnd) permit(bytes int, leaves bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allow, c.leaves = bytes, leaves
	c.more.Broadcast()
}

// leave closes the connection.
func (c *clientEnd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaveLocked()
}

func (c *clientEnd) leaveLocked() {
	c.left = true
	c.cancel()
	c.more.Broadcast()
}

// gate holds a stream's handler in one of its reads of the log, before or after the log's answer.
type gate struct {
	mu      sync.Mutex
	reads   int // begun so far
	at      int // the number of the read to hold; 0: none
	after   bool
	holding bool
	release chan struct{}
}

// arm makes the gate hold the n-th read from now on.
func (g *gate) arm(n int, after bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.holding {
		g.at, g.after, g.release = g.reads+n, after, make(chan struct{})
	}
}

// open releases a held read, and makes the gate hold no more reads.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at != 0 {
		g.at = 0
		close(g.release)
	}
}

// step releases the held read, and makes the gate hold the next one before the log answers it.
func (g *gate) step() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.holding {
		close(g.release)
		g.at, g.after, g.release = g.reads+1, false, make(chan struct{})
	}
}

// state returns whether the gate holds a read, and whether it is the stream's first read.
func (g *gate) state() (holding, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.holding, g.holding && g.reads == 1
}

func (g *gate) pass(after bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !after {
		g.reads++
	}
	if g.at == 0 || g.reads != g.at || g.after != after {
		return
	}
	g.holding = true
	release := g.release
	g.mu.Unlock()
	<-release
	g.mu.Lock()
	g.holding = false
}

// gatedLog passes each read through the gate in its context, if there is one.
type gatedLog struct{ eventlog.Log }

type gateKey struct{}

func (l gatedLog) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	g, ok := ctx.Value(gateKey{}).(*gate)
	if !ok || len(q.Subjects) == 1 { // a stream that looks for commands
		return l.Log.Read(ctx, q, dst)
	}
	g.pass(false)
	page, err := l.Log.Read(ctx, q, dst)
	g.pass(true)
	return page, err
}

// shorten returns data for a message, without its padding.
func shorten(data string) string {
	head, bulk, _ := strings.Cut(data, " ")
	return head + " and " + strconv.Itoa(len(bulk)) + " bytes"
}
