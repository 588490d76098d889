package natslog_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/natslog"
	"github.com/ginsse/ginsse/ssetest"
)

// BenchmarkGrant measures from the call of Grant to the first event of the topic at a client, with
// four nodes. Grant and Publish are called at one node, and the client's stream is at another one.
// Run it with -benchtime 2000x.
func BenchmarkGrant(b *testing.B) {
	s, _ := benchmarkServer(b)
	nodes := benchmarkNodes(b, s, 4)
	streams := make([]*ssetest.Stream, len(nodes))
	for i, node := range nodes {
		web := httptest.NewServer(node.engine)
		b.Cleanup(web.Close)
		request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, web.URL, http.NoBody)
		if err != nil {
			b.Fatal(err)
		}
		streams[i] = ssetest.Connect(b, web.Client(), request, ssetest.Header("User", fmt.Sprint("user ", i)))
		streams[i].NextOf("sse.open")
	}
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		here, there := nodes[n%4].registry, streams[(n+1)%4]
		user, topic := fmt.Sprint("user ", (n+1)%4), fmt.Sprint("board ", n)
		start := time.Now()
		check(here.Grant(b.Context(), user, topic))
		_, err := here.Publish(b.Context(), topic, ginsse.Event{Type: "card", Data: n})
		check(err)
		there.NextOf("card")
		took = append(took, time.Since(start))
		check(here.Revoke(b.Context(), user, topic))
		there.NextOf("sse.topics")
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkTransient measures the CPU of events that are kept and of events that are not, from one
// node to streams of another. The next event is sent when all streams have the last one. The CPU is
// that of both nodes and the broker. Streams write into recorders, so that the network to clients is
// not measured. Run it with -benchtime 2000x.
func BenchmarkTransient(b *testing.B) {
	for _, streams := range []int{1, 100, 1000} {
		for _, transient := range []bool{false, true} {
			b.Run(fmt.Sprintf("streams=%d/transient=%v", streams, transient), func(b *testing.B) {
				s, _ := benchmarkServer(b)
				nodes := benchmarkNodes(b, s, 2)
				audience := newAudience("event: typing\n")
				for i := range streams {
					audience.open(nodes[1], fmt.Sprint("user ", i))
				}
				audience.awaitOpen(b)
				e := ginsse.Event{Type: "typing", Data: strings.Repeat("x", 100), Transient: transient}
				cpu, sent := cpuTime(), 0
				for b.Loop() {
					if _, err := nodes[0].registry.Broadcast(b.Context(), e); err != nil {
						b.Fatal(err)
					}
					sent++
					audience.awaitSeen(b, int64(sent*streams))
				}
				cpu = cpuTime() - cpu
				b.ReportMetric(float64(cpu.Microseconds())/float64(sent), "µs-CPU/event")
				b.ReportMetric(float64(cpu.Nanoseconds())/float64(sent*streams), "ns-CPU/delivery")
			})
		}
	}
}

// benchmarkNode is a node of an application: a registry on a log, with a connection of its own.
type benchmarkNode struct {
	nc       *nats.Conn
	log      *natslog.Log
	registry *ginsse.Registry
	engine   *gin.Engine     // serves a stream of the user in the header User, at /
	streams  *sync.WaitGroup // of an audience
}

// stop ends the node and waits for its streams. It may be repeated.
func (n benchmarkNode) stop() {
	n.registry.Close()
	n.streams.Wait()
	_ = n.log.Close()
	n.nc.Close()
}

func benchmarkNodes(b *testing.B, s *server.Server, count int, options ...ginsse.ServeOption) []benchmarkNode {
	b.Helper()
	nodes := make([]benchmarkNode, count)
	for i := range nodes {
		nc, err := nats.Connect(s.ClientURL())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(nc.Close)
		log := benchmarkLog(b, nc)
		registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
			Log:            log,
			Stream:         ginsse.StreamConfig{HeartbeatInterval: -1},
			AllowTopicFunc: func(*gin.Context, string) (bool, error) { return true, nil },
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(registry.Close)
		auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
			return ginsse.Identity{UserID: c.GetHeader("User")}, nil
		})
		if err != nil {
			b.Fatal(err)
		}
		engine := gin.New()
		engine.GET("/", ginsse.Middleware(auth), registry.Handler(options...))
		nodes[i] = benchmarkNode{nc, log, registry, engine, new(sync.WaitGroup)}
		b.Cleanup(nodes[i].stop)
	}
	return nodes
}

// audience is streams that write into recorders. It counts a text in what is written.
type audience struct {
	text    []byte
	opened  int64
	started atomic.Int64  // streams that have written sse.open
	seen    atomic.Int64  // how often the text was written
	target  atomic.Int64  // what awaitSeen waits for
	reached chan struct{} // holds a token when seen has reached target
}

func newAudience(text string) *audience {
	return &audience{text: []byte(text), reached: make(chan struct{}, 1)}
}

// open opens a stream. Its query has the topics.
func (a *audience) open(node benchmarkNode, user string, topics ...string) {
	request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	request.Header.Set("User", user)
	query := request.URL.Query()
	for _, topic := range topics {
		query.Add("topic", topic)
	}
	request.URL.RawQuery = query.Encode()
	a.opened++
	recorder := &audienceRecorder{ResponseRecorder: httptest.NewRecorder(), audience: a}
	node.streams.Go(func() {
		for range 10 {
			if node.engine.ServeHTTP(recorder, request); recorder.opened {
				return
			}
			time.Sleep(time.Second) // a node without contact to the broker asks for that
		}
	})
}

// awaitOpen waits until all streams have opened.
func (a *audience) awaitOpen(b *testing.B) {
	b.Helper()
	nodetest.Until(b, "the streams", func() bool { return a.started.Load() == a.opened })
}

// awaitSeen waits until the text was written so often.
func (a *audience) awaitSeen(b *testing.B, count int64) {
	b.Helper()
	a.target.Store(count)
	for a.seen.Load() < count {
		select {
		case <-a.reached:
		case <-time.After(patience):
			b.Fatalf("the text was written %d times, not %d", a.seen.Load(), count)
		}
	}
}

type audienceRecorder struct {
	*httptest.ResponseRecorder

	audience *audience
	opened   bool
}

func (r *audienceRecorder) Write(p []byte) (int, error) {
	a := r.audience
	if !r.opened && bytes.Contains(p, []byte("event: sse.open\n")) {
		r.opened = true
		a.started.Add(1)
	}
	if count := int64(bytes.Count(p, a.text)); count > 0 && a.seen.Add(count) >= a.target.Load() {
		select {
		case a.reached <- struct{}{}:
		default:
		}
	}
	return len(p), nil
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
