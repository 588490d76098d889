package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/sys/unix"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/otelginsse"
	"github.com/ginsse/ginsse/promginsse"
)

// BenchmarkObservers measures the CPU time of the server for each delivered event, with and without
// observers.
//
// An iteration is a round: the same streams deliver an event to each client once with each observer, in
// random order. For each observer the benchmark reports by how much the CPU time differs from that
// without one, in the median round. "again" is none once more: it differs by what cannot be measured.
// Use a number of rounds for -benchtime: 250 or more, and far more on a busy machine.
func BenchmarkObservers(b *testing.B) {
	gin.SetMode(gin.ReleaseMode)
	for _, mode := range []struct {
		name    string
		compact bool
	}{{"handler", false}, {"compact", true}} {
		b.Run(mode.name, func(b *testing.B) {
			h := newHall(b, mode.compact)
			b.Run("broadcast", func(b *testing.B) { compareObservers(b, h, h.broadcast) })
			b.Run("targeted", func(b *testing.B) { compareObservers(b, h, h.toEach) })
		})
	}
}

func compareObservers(b *testing.B, h *hall, deliver func(b *testing.B)) {
	observers := []struct {
		name     string
		observer *ginsse.Observer
	}{
		{"none", new(ginsse.Observer)},
		{"again", new(ginsse.Observer)},
		{"prom", promginsse.New().Observer()},
		{"otel", unsampled(b)},
	}
	used := make([][]float64, len(observers)) // nanoseconds for each delivered event, by round
	for b.Loop() {
		for _, i := range rand.Perm(len(observers)) {
			*h.observer = *observers[i].observer
			used[i] = append(used[i], h.measure(b, deliver))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(slices.Clone(used[0])), "CPU-ns/event")
	for i, o := range observers[1:] {
		more := make([]float64, len(used[0]))
		for round := range more {
			more[round] = (used[i+1][round]/used[0][round] - 1) * 100
		}
		b.ReportMetric(median(more), o.name+"-%")
	}
}

// unsampled returns an observer that makes metrics, and no spans.
func unsampled(b *testing.B) *ginsse.Observer {
	telemetry, err := otelginsse.New(otelginsse.Config{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())),
	})
	if err != nil {
		b.Fatal(err)
	}
	return telemetry.Observer()
}

func median(values []float64) float64 {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// hallClients is how many clients a hall has. Each is a user of its own.
const hallClients = 1000

// hall is a registry with its clients.
type hall struct {
	registry *ginsse.Registry
	observer *ginsse.Observer // the registry's; may be changed while it delivers nothing
	streams  []*ginsse.Stream
	clients  []int // their sockets, which Go's poller does not watch
	sent     int   // events to each client
	got      int   // blocks that the clients have read
	buffer   []byte
}

func newHall(b *testing.B, compact bool) *hall {
	cfg := ginsse.RegistryConfig{Stream: ginsse.StreamConfig{Compact: compact, HeartbeatInterval: -1}}
	registry, err := ginsse.NewRegistry(cfg)
	if err != nil {
		b.Fatal(err)
	}
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(auth), registry.Handler())
	server := httptest.NewServer(engine)
	h := &hall{registry: registry, observer: observerOf(registry), buffer: make([]byte, 64<<10)}
	b.Cleanup(func() {
		for _, client := range h.clients {
			_ = unix.Close(client)
		}
		registry.Close()
		server.Close()
	})
	for i := range hallClients {
		h.clients = append(h.clients, connectClient(b, server.Listener.Addr().String(), hallUser(i)))
	}
	h.until(b, "the streams are open", func() bool {
		h.streams = registry.AllStreams()
		return len(h.streams) == hallClients && !slices.ContainsFunc(h.streams, func(s *ginsse.Stream) bool { return s.Compact() != compact })
	})
	return h
}

// observerOf returns the place where a registry keeps its observer. Two registries with the same load
// differ by more than an observer costs, because of where their memory is. So one registry has to do.
func observerOf(registry *ginsse.Registry) *ginsse.Observer {
	field := reflect.ValueOf(registry).Elem().FieldByName("observe")
	return (*ginsse.Observer)(field.Addr().UnsafePointer())
}

func hallUser(i int) string { return "user-" + strconv.Itoa(i) }

// connectClient opens a stream. It returns the client's socket, which nothing waits for: so a write to
// the client wakes up no goroutine, as one to a client on another machine.
func connectClient(b *testing.B, addr, user string) (socket int) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /events HTTP/1.1\r\nHost: test\r\nX-User: %s\r\n\r\n", user); err != nil {
		b.Fatal(err)
	}
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	if socket, err = unix.Dup(int(file.Fd())); err != nil {
		b.Fatal(err)
	}
	return socket
}

// until waits until a condition is true.
func (h *hall) until(b *testing.B, what string, condition func() bool) {
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%s: not within a minute", what)
		}
	}
}

// measure delivers an event to each client. It returns the nanoseconds of CPU time for each.
func (h *hall) measure(b *testing.B, deliver func(b *testing.B)) float64 {
	before, err := child.CPU()
	if err != nil {
		b.Fatal(err)
	}
	deliver(b)
	h.sent++
	h.until(b, "the events are written", func() bool {
		return !slices.ContainsFunc(h.streams, func(s *ginsse.Stream) bool { return s.Stats().Events < uint64(h.sent) })
	})
	after, err := child.CPU()
	if err != nil {
		b.Fatal(err)
	}
	h.read(b)
	return float64((after - before).Nanoseconds()) / hallClients
}

// read reads what the clients have got.
func (h *hall) read(b *testing.B) {
	for _, client := range h.clients {
		n, _, err := unix.Recvfrom(client, h.buffer, unix.MSG_DONTWAIT)
		if err != nil {
			b.Fatal("a client has got nothing: ", err)
		}
		h.got += bytes.Count(h.buffer[:n], []byte("\n\n"))
	}
	if blocks := (1 + h.sent) * hallClients; h.got != blocks { // with sse.open
		b.Fatalf("the clients have got %d blocks, want %d", h.got, blocks)
	}
}

var hallEvent = ginsse.Event{Type: "comment", Data: strings.Repeat("x", eventBytes)}

// broadcast sends one event to all.
func (h *hall) broadcast(b *testing.B) {
	if _, err := h.registry.Broadcast(context.Background(), hallEvent); err != nil {
		b.Fatal(err)
	}
}

// toEach sends an event to each.
func (h *hall) toEach(b *testing.B) {
	for i := range hallClients {
		if _, err := h.registry.SendTo(context.Background(), hallUser(i), hallEvent); err != nil {
			b.Fatal(err)
		}
	}
}
