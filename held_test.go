package ginsse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// The work of an interrupted stream may be done again.
func TestInterruptedStreamDoesNotEndAsDone(t *testing.T) {
	t.Parallel()
	produce := map[string]func(ctx context.Context, s *ginsse.Stream) error{
		"lifetime": func(ctx context.Context, _ *ginsse.Stream) error { <-ctx.Done(); return ctx.Err() },
		"panic":    func(context.Context, *ginsse.Stream) error { panic("broken") },
	}
	for name, more := range produce {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var produced atomic.Int64
				server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
					defer func() { _ = recover() }()
					_ = ginsse.Serve(c, ginsse.StreamConfig{MaxLifetime: time.Minute}, func(ctx context.Context, s *ginsse.Stream) error {
						produced.Add(1)
						return errors.Join(s.Send(ctx, numbered(1)), more(ctx, s))
					})
				}))
				stream := server.Open(t, "/")
				stream.Patience = time.Hour
				wantCleanEnd(t, stream)
				again := server.Open(t, "/", ssetest.LastEventID(stream.LastEventID()))
				again.NextOf("n")
				if id := stream.LastEventID(); id == ginsse.DoneID || produced.Load() != 2 {
					t.Errorf("ended with the ID %q; the work was begun %d times", id, produced.Load())
				}
			})
		})
	}
}

// If a writer panics, the stream gives the response back and does not touch it afterwards.
func TestPanicBelowTheFirstWriteReleasesTheResponse(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		const timeout = 500 * time.Millisecond
		engine := gin.New()
		engine.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, _ any) { c.Abort() }))
		engine.GET("/stream", func(c *gin.Context) { c.Writer = &writeHook{c.Writer, func() { panic("full disk") }} }, func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: timeout}, func(context.Context, *ginsse.Stream) error { return nil })
		})
		engine.GET("/slow", func(c *gin.Context) {
			select {
			case <-c.Request.Context().Done():
			case <-time.After(2 * timeout): // longer than the watchdog waits
			}
			c.String(http.StatusOK, "fine")
		})
		server := tr.start(t, engine, nil)
		for _, path := range []string{"/stream", "/slow"} {
			var reused bool
			trace := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }})
			request, err := http.NewRequestWithContext(trace, http.MethodGet, server.URL+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := server.Client().Do(request)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if path == "/slow" && (string(body) != "fine" || err != nil || !reused) {
				t.Errorf("the next request on the connection (reused: %v) got %q, %v", reused, body, err)
			}
		}
	})
}

// A partitioned node does not know whether it has delivered all events.
func TestFinalEndOnAPartitionedNodeIsAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{})
		alice := ssetest.NewServer(t, newEngine(t, registries[0])).Open(t, "/events", as("alice"))
		alice.NextOf("sse.open")
		pass(time.Minute)
		logs[0].SetPartitioned(true)
		send(t, registries[1], "alice", 1)
		registries[0].Streams("alice")[0].Disconnect("signed out")
		if e := alice.Next(); e.Type != "sse.gap" || e.Data != `{"reason":"undelivered"}` {
			t.Errorf("got %+v, though an event was not delivered", e)
		}
		wantClose(t, alice, "signed out")
	})
}

// The end of a context does not end a read of the request's body.
func TestProducerThatReadsAWithheldBodyIsFreed(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"announced": "Content-Length: 10\r\n\r\nabc", "chunked": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
		for _, duplex := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/full_duplex_%v", name, duplex), func(t *testing.T) {
				t.Parallel()
				returned := make(chan struct{})
				server := transports[0].start(t, serveAt(func(c *gin.Context) {
					defer close(returned)
					if duplex {
						_ = http.NewResponseController(c.Writer).EnableFullDuplex()
					}
					cfg := ginsse.StreamConfig{WriteTimeout: 400 * time.Millisecond, MaxLifetime: 300 * time.Millisecond}
					_ = ginsse.Serve(c, cfg, func(context.Context, *ginsse.Stream) error {
						_, err := io.Copy(io.Discard, c.Request.Body)
						return err
					})
				}), nil)
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\n"+head); err != nil {
					t.Fatal(err)
				}
				within(t, "the handler", returned)
			})
		}
	}
}

// While a user's only stream is being replaced, the user is online and receives events.
func TestUserIsOnlineWhileAStreamIsReplaced(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStreamsPerUser: 1, MaxOpensPerMinute: -1})
	server := ssetest.NewServer(t, newEngine(t, registry))
	server.Open(t, "/events", as("alice")).NextOf("sse.open")
	done, offline := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				offline <- n
				return
			default:
				if !registry.Online("alice") {
					n++
				}
				runtime.Gosched()
			}
		}
	}()
	for range 100 {
		server.Open(t, "/events", as("alice")).NextOf("sse.open")
	}
	close(done)
	if n := <-offline; n > 0 {
		t.Errorf("the user was seen offline %d times", n)
	}
}

// A disconnected client is not asked to reconnect, even if its stream was still opening.
func TestStreamDisconnectedWhileItOpensIsClosed(t *testing.T) {
	t.Parallel()
	log := &endingLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
	log.end = func() { _, _ = registry.Disconnect(context.Background(), "alice", "signed out") }
	id := send(t, registry, "alice", 1).ID
	log.armed.Store(true)
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"), ssetest.LastEventID(id))
	wantClose(t, stream, "signed out")
}

// endingLog fails and ends a user's streams while a stream looks up its position.
type endingLog struct {
	*eventlog.MemoryLog

	armed atomic.Bool
	end   func()
}

func (l *endingLog) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if l.armed.CompareAndSwap(true, false) {
		l.end()
		return eventlog.Page{}, errBrokerAway
	}
	return l.MemoryLog.Read(ctx, q, dst)
}

// The end of a registry's stream by Close, or by a reason of producers, has a time limit.
func TestClosedStreamOfARegistryDrainsForALimitedTime(t *testing.T) {
	t.Parallel()
	for _, reason := range []ginsse.Reason{ginsse.ReasonDone, ginsse.ReasonFailed, "own"} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan ginsse.Reason, 1)
				registry := newRegistry(t, ginsse.RegistryConfig{DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) { ended <- reason }})
				server := ssetest.NewServer(t, newEngine(t, registry))
				response := openBody(t, server, "/events")
				for range 100 {
					if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: strings.Repeat("x", 500_000)}); err != nil {
						t.Fatal(err)
					}
				}
				registry.Streams("alice")[0].Disconnect(reason)
				start := time.Now()
				var got bytes.Buffer
				for {
					if _, err := io.CopyN(&got, response.Body, 8<<10); err != nil {
						break
					}
					pass(time.Second)
				}
				<-ended
				if d := time.Since(start); d > 2*time.Minute {
					t.Errorf("it delivered for %v after its end", d)
				}
			})
		})
	}
}
