package ginsse_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// A writer publishes numbered events to topics, and grants and revokes them, on one node. A page
// follows the topics on another one, which is partitioned, reads slowly and fails at random. The page
// comes and goes, and keeps its position or not. It never gets an event from outside of a grant, and
// never misses one without a gap: neither between two events, nor between a state and an event.
func TestTopicsAndStatesHoldForAnyCourseOfEvents(t *testing.T) {
	t.Parallel()
	if allCompact() {
		t.Skip("sockets do not work in a bubble of synctest")
	}
	seeds := uint64(15)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newCourse(t, seed).run(t) })
		})
	}
}

// course is one run of [TestTopicsAndStatesHoldForAnyCourseOfEvents].
type course struct {
	random     *lockedRandom
	nodes      []*ssetest.Node
	writing    *ginsse.Registry
	serving    *ginsse.Registry
	engine     *gin.Engine
	hasState   bool
	calm, over atomic.Bool
	stream     atomic.Value // ID of the page's stream

	mu      sync.Mutex              // guards the fields below
	granted map[string]bool         // topics, as in a database
	count   map[string]int          // events of each topic
	allowed map[string]map[int]bool // topic and number of events that the page may get
}

var courseTopics = []string{"x", "y", "z"}

func newCourse(t *testing.T, seed uint64) *course {
	c := &course{
		random:  &lockedRandom{r: rand.New(rand.NewPCG(seed, 9))},
		granted: make(map[string]bool), count: make(map[string]int), allowed: make(map[string]map[int]bool),
	}
	for _, topic := range courseTopics {
		c.allowed[topic] = make(map[int]bool)
	}
	c.stream.Store("none")
	c.calm.Store(true)
	kept := []int{4096, 30, 6}[c.random.below(3)]
	c.nodes = ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: kept}, 2)
	fails := c.random.oneIn(2)
	faulty := &changedNode{Node: c.nodes[1], onRead: func(context.Context, eventlog.Query) error {
		if c.calm.Load() {
			return nil
		}
		if c.random.oneIn(3) {
			c.pause(10_000)
		}
		if fails && c.random.oneIn(15) {
			return errBrokerAway
		}
		return nil
	}}
	cfg := ginsse.RegistryConfig{
		Log: c.nodes[0], AllowTopicFunc: c.mayRead, MaxOpensPerMinute: -1, MaxStreamsPerUser: -1,
		Stream: ginsse.StreamConfig{HeartbeatInterval: 30 * time.Millisecond, ReconnectionTime: 5 * time.Millisecond},
	}
	c.writing = newRegistry(t, cfg)
	cfg.Log = faulty
	c.serving = newRegistry(t, cfg)
	var options []ginsse.ServeOption
	if c.hasState = !c.random.oneIn(4); c.hasState {
		options = append(options, ginsse.WithState(c.state))
	}
	auth := headerAuth(t)
	c.engine = gin.New()
	c.engine.GET("/events", ginsse.Middleware(auth), c.serving.Handler(options...))
	c.engine.POST("/events", auth.RequireUser(), c.writing.ControlHandler())
	return c
}

// pause waits up to a number of microseconds.
func (c *course) pause(most int) { pass(time.Duration(c.random.below(most)) * time.Microsecond) }

func (c *course) mayRead(_ *gin.Context, topic string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.granted[topic], nil
}

// state sends the number of the newest event of a topic.
func (c *course) state(_ context.Context, state *ginsse.State) error {
	if state.Topic() == "" {
		return nil
	}
	c.pause(8000)
	c.mu.Lock()
	n := c.count[state.Topic()]
	c.mu.Unlock()
	c.pause(8000)
	return state.Send(ginsse.Event{Type: "state", Data: courseData{Topic: state.Topic(), N: n}})
}

// courseData is the data of all events that the page gets.
type courseData struct {
	Topic   string   `json:"topic"`
	N       int      `json:"n"`
	Stream  string   `json:"stream,omitempty"`
	Resumed bool     `json:"resumed,omitempty"`
	Topics  []string `json:"topics,omitempty"`
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

func (c *course) run(t *testing.T) {
	c.calm.Store(false)
	var running sync.WaitGroup
	running.Go(func() {
		for !c.over.Load() {
			c.write(t)
		}
	})
	if c.random.oneIn(2) {
		running.Go(c.partition)
	}
	running.Go(func() { c.follow(t) })
	for i := 0; i < 30 && !c.over.Load(); i++ {
		pass(100 * time.Millisecond)
	}
	c.over.Store(true)
	c.calm.Store(true)
	c.nodes[1].SetPartitioned(false)
	running.Wait()
	c.writing.Close()
	c.serving.Close()
	pass(time.Second)
	synctest.Wait()
}

// write does one thing at random: it is the only writer.
func (c *course) write(t *testing.T) {
	topic := courseTopics[c.random.below(len(courseTopics))]
	set := func(granted bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.granted[topic] = granted
	}
	switch n := c.random.below(100); {
	case n < 75:
		c.publish(t, topic)
	case n < 85:
		// Nothing comes between the two: a page that names the topic there would see the past.
		c.mu.Lock()
		c.granted[topic] = true
		check(t, c.writing.Grant(t.Context(), "alice", topic))
		c.mu.Unlock()
	case n < 90:
		if ok, _ := c.mayRead(nil, topic); ok {
			control(t, c.engine, "alice", fmt.Sprintf(`{"stream":%q,"add":[%q]}`, c.stream.Load(), topic))
		}
	case n < 93:
		set(false)
		check(t, c.writing.Revoke(t.Context(), "alice", topic))
	case n < 95:
		set(false)
		check(t, c.writing.RevokeTopic(t.Context(), topic))
	case n < 97:
		control(t, c.engine, "alice", fmt.Sprintf(`{"stream":%q,"state":true}`, c.stream.Load()))
	default:
		send(t, c.writing, "alice", 1)
	}
	if c.random.oneIn(3) {
		c.pause(2000)
	}
}

func (c *course) publish(t *testing.T, topic string) {
	c.mu.Lock()
	c.count[topic]++
	n := c.count[topic]
	if c.granted[topic] {
		c.allowed[topic][n] = true
	}
	c.mu.Unlock()
	_, err := c.writing.Publish(t.Context(), topic, ginsse.Event{Type: "e", Data: courseData{Topic: topic, N: n}})
	check(t, err)
}

func (c *course) partition() {
	for !c.over.Load() {
		c.pause(100_000)
		c.nodes[1].SetPartitioned(true)
		c.pause(20_000)
		c.nodes[1].SetPartitioned(false)
	}
}

// coursePage is what a page knows.
type coursePage struct {
	reading map[string]bool // topics
	have    map[string]int  // newest number of each topic; -1 if it is not known
	trail   []string        // what the page got
}

func (p *coursePage) forget(topics ...string) {
	for _, topic := range topics {
		p.have[topic] = -1
	}
}

func (c *course) follow(t *testing.T) {
	server := ssetest.NewServer(t, c.engine)
	page := &coursePage{reading: make(map[string]bool), have: make(map[string]int)}
	lastEventID := ""
	for !c.over.Load() && !t.Failed() {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/events?topic=x&topic=y&topic=z", http.NoBody)
		check(t, err)
		options := []ssetest.Option{as("alice")}
		if lastEventID != "" && c.random.oneIn(2) {
			options = append(options, ssetest.LastEventID(lastEventID))
		}
		stream := ssetest.Connect(t, server.Client, request, options...)
		for n := 1 + c.random.below(400); n > 0 && !c.over.Load() && !t.Failed(); n-- {
			e, err := stream.TryNext(time.Second)
			if err == nil {
				c.take(t, page, e)
			} else if !strings.Contains(err.Error(), "no event") {
				break
			}
		}
		stream.Close()
		rest, _ := stream.WaitEnd() // its last event ID is after them
		for _, e := range rest {
			c.take(t, page, e)
		}
		lastEventID = stream.LastEventID()
		c.pause(20_000)
	}
	c.over.Store(true)
}

// take has the page take an event, which it may get.
func (c *course) take(t *testing.T, page *coursePage, e ssetest.Event) {
	page.trail = append(page.trail, e.Type+" "+e.Data)
	bad := func(format string, args ...any) {
		t.Errorf(format+":\n%s", append(args, strings.Join(page.trail[max(0, len(page.trail)-25):], "\n"))...)
	}
	var d courseData
	if strings.HasPrefix(e.Data, "{") {
		check(t, json.Unmarshal([]byte(e.Data), &d))
	}
	switch e.Type {
	case "sse.open", "sse.topics":
		before := page.reading
		page.reading = make(map[string]bool)
		for _, topic := range d.Topics {
			if page.reading[topic] {
				bad("topic %s is there twice", topic)
			}
			page.reading[topic] = true
			if !before[topic] {
				page.forget(topic)
			}
		}
		if page.forget(append(d.Added, d.Removed...)...); e.Type == "sse.open" {
			c.stream.Store(d.Stream)
			if !d.Resumed {
				page.forget(courseTopics...)
			}
		}
	case "sse.gap":
		if page.forget(d.Topic); d.Topic == "" {
			page.forget(courseTopics...)
		}
	case "state":
		if page.have[d.Topic] = d.N; !page.reading[d.Topic] {
			bad("got the state of a topic that is not read")
		}
	case "e":
		c.mu.Lock()
		allowed := c.allowed[d.Topic][d.N]
		c.mu.Unlock()
		switch have := page.have[d.Topic]; {
		case !allowed:
			bad("got an event from outside of a grant")
		case !page.reading[d.Topic]:
			bad("got an event of a topic that is not read")
		case have >= 0 && d.N > have+1:
			bad("got %d of %s after %d", d.N, d.Topic, have)
		default:
			page.have[d.Topic] = max(have, d.N)
		}
	}
}
