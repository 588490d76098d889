package ginsse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// Two nodes serve one user while the log fails, a node is partitioned, clients are slow, and streams
// end. Whatever happens, a client gets no event twice, and misses none without sse.gap. A stream that
// Disconnect ends delivers nothing that was sent after the call, and all that was sent before it,
// unless the client gets sse.gap.
//
// A seed fixes the settings and the random numbers, but not the order in which goroutines run. A
// seed that has failed may have to run several times to fail again.
func TestPromisesHoldUnderFaults(t *testing.T) {
	t.Parallel()
	seeds := uint64(30)
	if testing.Short() {
		seeds = 8
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newFaultTest(t, seed).run() })
			if t.Failed() {
				t.Logf("seed %d failed; to run it alone: go test -run 'TestPromisesHoldUnderFaults/^%[1]d$' -count 100 .", seed)
			}
		})
	}
}

// faultTest is one run of the test, with the settings of one seed.
type faultTest struct {
	t      *testing.T
	random *lockedRandom
	pace   int         // factor of the pauses; slow clients need longer ones
	slow   int         // how many milliseconds a client may pause before a read
	errors bool        // the log fails now and then
	calm   atomic.Bool // the log has no faults
	over   atomic.Bool // the goroutines are to end

	logs       []*ssetest.Node
	registries []*ginsse.Registry
	servers    []*ssetest.Server

	// Events are numbered from 1. These are the last one whose sending has begun, and the last one
	// that was sent.
	begun, sent atomic.Int64

	mu          sync.Mutex
	disconnects []faultDisconnect // in the order of the calls
}

// faultDisconnect is a call of Disconnect. A stream that it ends delivers the events up to atLeast,
// which were sent before the call, and none after atMost, whose sending began after it.
type faultDisconnect struct{ atLeast, atMost int64 }

func newFaultTest(t *testing.T, seed uint64) *faultTest {
	random := &lockedRandom{r: rand.New(rand.NewPCG(seed, 1))}
	f := &faultTest{
		t:      t,
		random: random,
		pace:   1,
		slow:   []int{0, 30, 1000, 3000}[random.below(4)],
		errors: random.oneIn(2),
	}
	if f.slow > 100 {
		f.pace = 20
	}
	f.logs = ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: []int{4096, 20, 8}[random.below(3)]}, 2)
	cfg := ginsse.RegistryConfig{
		MaxOpensPerMinute: -1,
		MaxStreamsPerUser: []int{-1, 1, 2}[random.below(3)],
		Stream: ginsse.StreamConfig{
			HeartbeatInterval: time.Duration(5+random.below(40)) * time.Millisecond,
			HeartbeatComments: random.oneIn(3),
			ReconnectionTime:  5 * time.Millisecond,
		},
	}
	f.calm.Store(true)
	for _, node := range f.logs {
		cfg.Log = f.faulty(node)
		registry := newRegistry(t, cfg)
		f.registries = append(f.registries, registry)
		f.servers = append(f.servers, ssetest.NewServer(t, newEngine(t, registry)))
	}
	f.calm.Store(false)
	return f
}

// run lets everything happen at once for a while.
func (f *faultTest) run() {
	var wg sync.WaitGroup
	wg.Go(f.send)
	wg.Go(f.disconnect)
	if f.random.oneIn(2) {
		wg.Go(f.partition)
	}
	if f.random.oneIn(2) {
		wg.Go(f.endStreams)
	}
	for number := range 4 {
		c := &faultClient{faultTest: f, number: number, server: f.servers[number%len(f.servers)]}
		wg.Go(c.run)
	}
	time.Sleep(time.Duration(1500*f.pace) * time.Millisecond)
	f.over.Store(true)
	f.calm.Store(true)
	wg.Wait()
	pass(time.Second) // slow calls of the log end; the bubble's time ends with its first goroutine
	synctest.Wait()
}

// faulty returns a node that is slow now and then, and fails if the test has errors.
func (f *faultTest) faulty(node *ssetest.Node) *changedNode {
	return &changedNode{
		Node:   node,
		onRead: func(context.Context, eventlog.Query) error { return f.fault(20) },
		onHead: func(context.Context) error { return f.fault(30) },
		onAppend: func(_ context.Context, r eventlog.Record) error {
			if f.calm.Load() || !strings.HasPrefix(r.Subject, "command:") {
				return nil // the sender needs to know which events were sent
			}
			if err := f.fault(4); err != nil {
				return err
			}
			if f.random.oneIn(10) {
				time.Sleep(300 * time.Millisecond)
			}
			return nil
		},
	}
}

// fault is slow in one of three calls, and fails in one of n if the test has errors.
func (f *faultTest) fault(n int) error {
	if f.calm.Load() {
		return nil
	}
	if f.random.oneIn(3) {
		f.pause(20)
	}
	if f.errors && f.random.oneIn(n) {
		return errors.New("a fault of the log")
	}
	return nil
}

// pause waits for a random time below a number of milliseconds.
func (f *faultTest) pause(milliseconds int) {
	time.Sleep(time.Duration(f.random.below(1000*milliseconds)) * time.Microsecond)
}

// send sends numbered events to the user, and large ones that fill the buffers of slow clients.
func (f *faultTest) send() {
	ctx := context.Background()
	for n := int64(1); !f.over.Load(); n++ {
		f.begun.Store(n)
		if f.random.oneIn(10) {
			large := ginsse.Event{Type: "large", Data: strings.Repeat("x", 1000*f.random.below(60))}
			if _, err := f.registries[0].SendTo(ctx, "alice", large); err != nil {
				f.t.Error(err)
			}
		}
		var err error
		if f.random.oneIn(4) {
			_, err = f.registries[0].Broadcast(ctx, numbered(int(n)))
		} else {
			_, err = f.registries[0].SendTo(ctx, "alice", numbered(int(n)))
		}
		if err != nil {
			f.t.Error(err)
			return
		}
		f.sent.Store(n)
		if !f.random.oneIn(4) {
			f.pause(5 * f.pace)
		}
	}
}

// disconnect disconnects the user, each time with a reason of its own. The reason is the index in
// f.disconnects.
func (f *faultTest) disconnect() {
	for i := 0; !f.over.Load(); i++ {
		f.pause(120 * f.pace)
		call := faultDisconnect{atLeast: f.sent.Load(), atMost: math.MaxInt64}
		f.mu.Lock()
		f.disconnects = append(f.disconnects, call)
		f.mu.Unlock()
		_, err := f.registries[f.random.below(2)].Disconnect(context.Background(), "alice", ginsse.Reason(fmt.Sprint(i)))
		if err == nil {
			call.atMost = f.begun.Load()
		} else {
			call.atLeast = 0 // the streams of the other node stay open
		}
		f.mu.Lock()
		f.disconnects[i] = call
		f.mu.Unlock()
	}
}

// partition partitions the second node again and again.
func (f *faultTest) partition() {
	for !f.over.Load() {
		f.pause(100)
		f.logs[1].SetPartitioned(true)
		f.pause(30)
		f.logs[1].SetPartitioned(false)
	}
}

// endStreams ends streams for reasons after which the client reconnects, and sends events that have
// no place in the log.
func (f *faultTest) endStreams() {
	reasons := []ginsse.Reason{ginsse.ReasonLifetime, ginsse.ReasonExpired, ginsse.ReasonShutdown}
	for !f.over.Load() {
		f.pause(60 * f.pace)
		for _, s := range f.registries[f.random.below(2)].Streams("alice") {
			switch f.random.below(4) {
			case 0:
				s.Disconnect(reasons[f.random.below(len(reasons))])
			case 1:
				_ = s.Send(context.Background(), ginsse.Event{Type: "sent"}) // the stream may have ended
			}
		}
	}
}

// disconnectsFrom returns the calls of Disconnect from an index on, as they are now.
func (f *faultTest) disconnectsFrom(i int) []faultDisconnect {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]faultDisconnect(nil), f.disconnects[i:]...)
}

// faultClient is a client of a faultTest. It always reconnects, and checks what it gets.
type faultClient struct {
	*faultTest
	number int
	server *ssetest.Server
	id     string   // the last event ID
	last   int64    // the last number that it got
	known  bool     // the next number is last+1; false after sse.gap
	trail  []string // what has happened last, for failures
}

func (c *faultClient) run() {
	for first := true; first || !c.over.Load(); first = false {
		opening := len(c.disconnectsFrom(0))
		stream := c.open()
		c.follow(stream, opening)
		stream.Close()
		if id := stream.LastEventID(); id != "" {
			c.id = id
		}
	}
}

func (c *faultClient) open() *ssetest.Stream {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.server.URL+"/events", http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	options := []ssetest.Option{as("alice")}
	if c.id != "" {
		options = append(options, ssetest.LastEventID(c.id))
	}
	transport := slowTransport{c.server.Client.Transport, c.faultTest}
	stream := ssetest.Connect(c.t, &http.Client{Transport: transport}, request, options...)
	stream.Patience = time.Hour
	c.note("open")
	return stream
}

// follow reads a stream until it ends, or the test is over. opening is how many calls of Disconnect
// there were before the client opened the stream.
func (c *faultClient) follow(stream *ssetest.Stream, opening int) {
	const patience = time.Minute
	opened := -1 // how many calls there were at the first event
	for {
		if c.random.oneIn(6) {
			c.pause(8)
		}
		if c.random.oneIn(400) {
			stream.Close()
			c.note("drop")
		}
		start := time.Now()
		e, err := stream.TryNext(patience)
		if err != nil {
			if !c.over.Load() && time.Since(start) >= patience {
				c.failf("no event within %v", patience)
			}
			return
		}
		if opened < 0 {
			opened = len(c.disconnectsFrom(0))
		}
		if e.Type != "large" {
			c.note(e.Type + " " + e.Data)
		}
		switch e.Type {
		case "n":
			c.gotNumber(e.Data, opened)
		case "sse.gap":
			c.known = false
		case "sse.close":
			c.gotClose(e.Data, opening)
		}
	}
}

// gotNumber checks the number of an event. The calls of Disconnect from index opened on were made
// while the stream was open.
func (c *faultClient) gotNumber(data string, opened int) {
	n, err := strconv.ParseInt(data, 10, 64)
	if err != nil {
		c.failf("%v", err)
	}
	for i, call := range c.disconnectsFrom(opened) {
		if n > call.atMost {
			c.failf("got %d, but Disconnect %d returned when only %d was begun", n, opened+i, call.atMost)
		}
	}
	if n <= c.last {
		c.failf("got %d again, after %d", n, c.last)
	}
	if c.known && n > c.last+1 {
		c.failf("got %d after %d, without sse.gap", n, c.last)
	}
	c.known, c.last = true, n
}

// gotClose checks whether the stream has delivered what it had to before it was closed.
func (c *faultClient) gotClose(data string, opening int) {
	var got struct {
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal([]byte(data), &got); err != nil {
		c.failf("%v", err)
	}
	i, err := strconv.Atoi(got.Reason)
	if err != nil {
		return // a reason of the kit's
	}
	call := c.disconnectsFrom(i)[0]
	atLeast := call.atLeast
	// The stream may have ended at an earlier call than the one whose reason it has.
	for _, earlier := range c.disconnectsFrom(max(0, opening-1)) {
		atLeast = min(atLeast, earlier.atLeast)
	}
	if c.known && c.last < atLeast {
		c.failf("closed by Disconnect %d after %d, without sse.gap; %d was sent before the call", i, c.last, atLeast)
	}
	if c.last > call.atMost {
		c.failf("closed by Disconnect %d after %d, but the call returned when only %d was begun", i, c.last, call.atMost)
	}
}

func (c *faultClient) note(what string) {
	c.trail = append(c.trail, what)
	c.trail = c.trail[max(0, len(c.trail)-30):]
}

func (c *faultClient) failf(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("client %d: %s; the last events: %q", c.number, fmt.Sprintf(format, args...), c.trail)
}

// slowTransport is a transport whose responses are read slowly, if the test has slow clients.
type slowTransport struct {
	http.RoundTripper
	f *faultTest
}

func (s slowTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := s.RoundTripper.RoundTrip(r)
	if err == nil && s.f.slow > 0 {
		response.Body = slowBody{response.Body, s.f}
	}
	return response, err
}

type slowBody struct {
	io.ReadCloser
	f *faultTest
}

func (b slowBody) Read(p []byte) (int, error) {
	if b.f.random.oneIn(2) {
		b.f.pause(b.f.slow)
	}
	return b.ReadCloser.Read(p[:min(len(p), 1+b.f.random.below(4096))])
}

// lockedRandom gives random numbers to several goroutines.
type lockedRandom struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (l *lockedRandom) below(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.IntN(n)
}

func (l *lockedRandom) oneIn(n int) bool { return l.below(n) == 0 }
