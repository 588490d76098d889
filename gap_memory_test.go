package ginsse_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// sizeWriter notes the size of the buffers that are written.
type sizeWriter struct {
	gin.ResponseWriter
	largest *atomic.Int64
}

func (w *sizeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *sizeWriter) Write(p []byte) (int, error) {
	// A piece of a larger buffer has the capacity of its rest.
	if size := int64(cap(p)); size > w.largest.Load() {
		w.largest.Store(size)
	}
	return w.ResponseWriter.Write(p)
}

// A stream holds one turn while its client takes nothing. The commands of a gap, which a page
// can cause by the hundred, must not make that turn large.
func TestCommandsOfAGapDoNotFillTheMemory(t *testing.T) {
	t.Parallel()
	needsHandler(t)
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 1000, MaxBytes: 256 << 20}, 2)
	cfg := ginsse.RegistryConfig{Log: nodes[0], AllowTopicFunc: allowAllButSecrets, MaxOpensPerMinute: -1}
	a := newRegistry(t, cfg)
	cfg.Log = nodes[1]
	b := newRegistry(t, cfg)
	var largest atomic.Int64
	engine := gin.New()
	engine.GET("/events", func(c *gin.Context) {
		c.Writer = &sizeWriter{c.Writer, &largest}
	}, ginsse.Middleware(headerAuth(t)), b.Handler())
	query := url.Values{}
	var topics []string
	for n := range 64 {
		topics = append(topics, fmt.Sprintf("%03d%s", n, strings.Repeat("x", 200)))
	}
	query["topic"] = topics
	stream := ssetest.NewServer(t, engine).Open(t, "/events?"+query.Encode(), as("alice"))
	id := streamID(t, stream)
	nodes[1].SetPartitioned(true)
	pages := controlEngine(t, a)
	for range 10 { // requests, of 64 topics that the stream has
		control(t, pages, "alice", fmt.Sprintf(`{"stream":%q,"add":["%s"]}`, id, strings.Join(topics, `","`)))
	}
	for n := range 1001 {
		send(t, a, "alice", n)
	}
	nodes[1].SetPartitioned(false)
	stream.NextOf("sse.gap")
	if size := largest.Load(); size > 2<<20 {
		t.Errorf("the stream held %d KiB for one client", size>>10)
	}
}
