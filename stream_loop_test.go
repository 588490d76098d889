package ginsse_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
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

// Most of these tests depend on time. They run in bubbles of testing/synctest.

// withHeartbeats has the default heartbeat, which newRegistry turns off.
var withHeartbeats = ginsse.StreamConfig{HeartbeatInterval: 15 * time.Second}

func TestHeartbeatFollowsEachSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: withHeartbeats})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		pass(time.Minute)
		synctest.Wait()
		if n := stream.Heartbeats(); n < 4 || n > 5 {
			t.Errorf("%d heartbeats in a minute, want one every 11.25 to 15 s", n)
		}
		open := stream.NextOf("sse.open")
		if !strings.Contains(open.Data, `"heartbeat":15000`) {
			t.Errorf("sse.open does not name the interval: %s", open.Data)
		}
		if e := stream.NextOf("sse.heartbeat"); e.Data != "" || e.LastEventID != open.LastEventID || len(stream.Comments()) != 0 {
			t.Errorf("the heartbeat is %+v beside the comments %q, want empty data, the position as the id, and no comment", e, stream.Comments())
		}
	})
}

func TestHeartbeatCommentsAreInvisibleToPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{HeartbeatInterval: 15 * time.Second, HeartbeatComments: true}})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		if open := stream.NextOf("sse.open"); strings.Contains(open.Data, "heartbeat") {
			t.Errorf("sse.open announces heartbeats that a page does not see: %s", open.Data)
		}
		pass(time.Minute)
		synctest.Wait()
		if n := stream.Heartbeats(); n < 4 || n > 5 || len(stream.Comments()) != n {
			t.Errorf("%d heartbeats and the comments %q", n, stream.Comments())
		}
		last := send(t, registry, "bob", 1)
		pass(15 * time.Second)
		synctest.Wait()
		if got := stream.LastEventID(); got != last.ID {
			t.Errorf("the position is %q, want that of the other user's event, %q", got, last.ID)
		}
		stream.Close()
		if e, err := stream.TryNext(0); err == nil {
			t.Errorf("a page would see %+v", e)
		}
	})
}

// Events of Stream.Send carry no position. A client that gets many of them still learns its
// position once an interval. Otherwise it would resume from an old position, and could meet a gap.
func TestPositionIsSentOnceAnIntervalOnABusyStream(t *testing.T) {
	t.Parallel()
	for _, comments := range []bool{false, true} {
		t.Run(fmt.Sprintf("comments_%v", comments), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{HeartbeatInterval: 15 * time.Second, HeartbeatComments: comments}})
				stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
				stream.NextOf("sse.open")
				s := registry.Streams("alice")[0]
				var positions []string
				for second := range 120 {
					positions = append(positions, send(t, registry, "bob", second).ID)
					if err := s.Send(t.Context(), ginsse.Event{Type: "tick", Data: second}); err != nil {
						t.Fatal(err)
					}
					pass(time.Second)
					synctest.Wait()
					behind := len(positions) - 1 - slices.Index(positions, stream.LastEventID())
					if second >= 16 && behind > 15 {
						t.Fatalf("after %d s the client's position is %d s old", second, behind)
					}
				}
				if n := stream.Heartbeats(); !comments && (n < 8 || n > 11) {
					t.Errorf("%d heartbeats in two minutes, want one per interval", n)
				}
			})
		})
	}
}

// A stream that is written to needs no heartbeat while its position does not move.
func TestSendReplacesHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: withHeartbeats})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		for range 60 {
			if err := registry.Streams("alice")[0].Send(t.Context(), ginsse.Event{Type: "tick"}); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
		}
		synctest.Wait()
		if n := stream.Heartbeats(); n != 0 {
			t.Errorf("%d heartbeats on a busy stream", n)
		}
		start := time.Now()
		stream.NextOf("sse.heartbeat")
		if d := time.Since(start); d > 15*time.Second {
			t.Errorf("the stream was silent for %v", d)
		}
	})
}

func TestHeartbeatWaitsForSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: withHeartbeats})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		for n := range 60 {
			pass(time.Second)
			send(t, registry, "alice", n)
		}
		synctest.Wait()
		if n := stream.Heartbeats(); n != 0 {
			t.Errorf("%d heartbeats on a busy stream", n)
		}
	})
}

func TestHeartbeatsAreSpreadOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: withHeartbeats, MaxStreamsPerUser: -1})
		server := ssetest.NewServer(t, newEngine(t, registry))
		var streams []*ssetest.Stream
		for range 20 {
			streams = append(streams, server.Open(t, "/events", as("alice")))
		}
		heartbeats := func() (n int) {
			synctest.Wait()
			for _, stream := range streams {
				n += stream.Heartbeats()
			}
			return n
		}
		pass(11 * time.Second)
		if n := heartbeats(); n != 0 {
			t.Errorf("%d heartbeats before three quarters of the interval", n)
		}
		pass(2 * time.Second)
		if n := heartbeats(); n == 0 || n == len(streams) {
			t.Errorf("%d of %d streams sent a heartbeat by the middle of the spread", n, len(streams))
		}
		pass(2 * time.Second)
		if n := heartbeats(); n != len(streams) {
			t.Errorf("%d of %d streams sent a heartbeat within the interval", n, len(streams))
		}
	})
}

// The streams open at odd times, so that their heartbeats are due at any part of a second.
func TestHeartbeatIsNeverLaterThanItsInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const interval = 10 * time.Second
		registry := newRegistry(t, ginsse.RegistryConfig{
			Stream: ginsse.StreamConfig{HeartbeatInterval: interval}, MaxStreamsPerUser: -1,
		})
		server := ssetest.NewServer(t, newEngine(t, registry))
		const streams = 50
		longest := make(chan time.Duration, streams)
		for range streams {
			pass(7 * time.Millisecond)
			body := openBody(t, server, "/events").Body
			go func() {
				last, silence := time.Now(), time.Duration(0)
				for blocks := bufio.NewScanner(body); blocks.Scan(); last = time.Now() {
					silence = max(silence, time.Since(last))
				}
				longest <- silence
			}()
		}
		pass(10 * interval)
		registry.Close()
		for range streams {
			if silence := <-longest; silence > interval || silence < interval*3/4 {
				t.Errorf("a stream was silent for %v", silence)
			}
		}
	})
}

// writeHook is a gin.ResponseWriter that calls wrote before each write.
type writeHook struct {
	gin.ResponseWriter
	wrote func()
}

func (w *writeHook) Write(p []byte) (int, error) {
	w.wrote()
	return w.ResponseWriter.Write(p)
}

func (w *writeHook) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Heartbeats move the position of an idle user, so that it stays within the history.
func TestHeartbeatMovesThePositionOfAnIdleStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: withHeartbeats})
		server := ssetest.NewServer(t, newEngine(t, registry))
		stream := server.Open(t, "/events", as("alice"))
		opened := stream.NextOf("sse.open").LastEventID
		last := send(t, registry, "bob", 1)
		pass(15 * time.Second)
		synctest.Wait()
		if got := stream.LastEventID(); got != last.ID || got == opened {
			t.Errorf("the position is %q, want that of the other user's event, %q", got, last.ID)
		}
		if n := stream.Heartbeats(); n != 1 {
			t.Errorf("%d heartbeats, want 1", n)
		}
	})
}

func TestStreamEndsWhenItsCredentialExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"), ssetest.Header("X-Lifetime", "20m"))
		start := time.Now()
		stream.Patience = time.Hour
		wantReconnect(t, stream, "expired")
		if lived := time.Since(start); lived != 20*time.Minute {
			t.Errorf("the stream lived for %v", lived)
		}
	})
}

func TestStreamEndsAfterItsLifetime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{MaxLifetime: time.Hour}})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"), ssetest.Header("X-Lifetime", "9h"))
		start := time.Now()
		stream.Patience = 2 * time.Hour
		wantReconnect(t, stream, "lifetime")
		if lived := time.Since(start); lived < 54*time.Minute || lived > time.Hour {
			t.Errorf("the stream lived for %v, want 54m to 1h", lived)
		}
	})
}

func TestNegativeSettingsTurnHeartbeatsAndLimitsOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{HeartbeatInterval: -1, MaxLifetime: -1, ReconnectionTime: -1, WriteTimeout: -1}})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		pass(100 * 24 * time.Hour)
		send(t, registry, "alice", 1)
		wantNumbers(t, stream, 1, 1)
		if len(stream.Comments()) != 0 || stream.ReconnectionTime() != 0 {
			t.Errorf("comments %q, reconnection time %v", stream.Comments(), stream.ReconnectionTime())
		}
	})
}

// While the log fails, a stream stays open, sends heartbeats and keeps its position. Afterwards it
// goes on from there.
func TestStreamOutlivesAFailingLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &failingLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log, Stream: withHeartbeats})
		server := ssetest.NewServer(t, newEngine(t, registry))
		stream := server.Open(t, "/events", as("alice"))
		short := server.Open(t, "/events", as("alice"), ssetest.Header("X-Lifetime", "30s"))
		send(t, registry, "alice", 1)
		wantNumbers(t, stream, 1, 1)
		position := stream.LastEventID()
		log.failing.Store(true)
		for n := range 120 {
			send(t, registry, "alice", n+2)
			pass(500 * time.Millisecond)
		}
		synctest.Wait()
		if stream.LastEventID() != position || stream.Heartbeats() < 4 {
			t.Errorf("position %q, was %q; %d heartbeats in a minute", stream.LastEventID(), position, stream.Heartbeats())
		}
		wantReconnect(t, short, "expired")
		// A new stream cannot find its position, so its client is asked to reconnect.
		wantReconnect(t, server.Open(t, "/events", as("bob")), "overloaded")
		log.failing.Store(false)
		pass(2 * time.Second)
		wantNumbers(t, stream, 2, 121)
	})
}

// Events of Stream.Send are not in the log, so a failing log does not hold them up.
func TestDisconnectDeliversTheQueueOfSendWhileTheLogFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &failingLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		log.failing.Store(true)
		send(t, registry, "alice", 1)
		synctest.Wait() // the stream has found that the log fails
		s := registry.Streams("alice")[0]
		if err := s.Send(t.Context(), numbered(7)); err != nil {
			t.Fatal(err)
		}
		s.Disconnect("signed out")
		wantRest(t, stream, "n 7", `sse.gap {"reason":"undelivered"}`, `sse.close {"reason":"signed out"}`)
	})
}

// The stream was not notified of the event, and cannot read it when it ends.
func TestBacklogThatCannotBeReadAtTheEndIsAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0], unwatch: true}
		var failing atomic.Bool
		log.onRead = func(context.Context, eventlog.Query) error {
			if failing.Load() {
				return errBrokerAway
			}
			return nil
		}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		synctest.Wait()
		failing.Store(true)
		send(t, registry, "alice", 1)
		registry.Streams("alice")[0].Disconnect("bye")
		wantRest(t, stream, `sse.gap {"reason":"undelivered"}`, `sse.close {"reason":"bye"}`)
	})
}

var errBrokerAway = errors.New("the broker is away")

// failingLog fails to read while failing is set.
type failingLog struct {
	*eventlog.MemoryLog
	failing atomic.Bool
}

func (l *failingLog) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if l.failing.Load() {
		return eventlog.Page{}, errBrokerAway
	}
	return l.MemoryLog.Read(ctx, q, dst)
}

func (l *failingLog) Head(ctx context.Context) (eventlog.Cursor, error) {
	if l.failing.Load() {
		return eventlog.Cursor{}, errBrokerAway
	}
	return l.MemoryLog.Head(ctx)
}

// The reader needs three times the write timeout for one event, but never stops reading.
func TestSlowReaderThatMakesProgressKeepsItsStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		result := make(chan error, 1)
		data := make([]byte, 256<<10)
		for i := range data {
			data[i] = 'x'
		}
		server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
			result <- ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: 10 * time.Second, HeartbeatInterval: -1}, func(ctx context.Context, s *ginsse.Stream) error {
				return s.Send(ctx, ginsse.Event{Data: data})
			})
		}))
		response := openBody(t, server, "/")
		total, piece := 0, make([]byte, 8<<10)
		for {
			n, err := response.Body.Read(piece)
			total += n
			if err != nil {
				break
			}
			pass(time.Second) // 32 pieces of 8 KiB take three write timeouts
		}
		if total < len(data) {
			t.Errorf("read %d bytes", total)
		}
		if err := <-result; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
}

// The end may come while the stream is about to wait. Without heartbeats, nothing wakes the stream
// a second time.
func TestStreamNeverMissesItsEnd(t *testing.T) {
	t.Parallel()
	trials := 3000
	if testing.Short() {
		trials = 300
	}
	registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{MaxLifetime: -1}, MaxOpensPerMinute: -1})
	engine := newEngine(t, registry)
	for n := range trials {
		ctx, cancel := context.WithCancel(t.Context())
		request := httptest.NewRequest(http.MethodGet, "/events", http.NoBody).WithContext(ctx)
		request.Header.Set("X-User", "alice")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			engine.ServeHTTP(httptest.NewRecorder(), request)
		}()
		for !registry.Online("alice") {
			runtime.Gosched()
		}
		switch n % 3 {
		case 0:
			cancel()
		case 1:
			_, _ = registry.Disconnect(t.Context(), "alice", "")
		default:
			send(t, registry, "alice", n)
			_, _ = registry.Disconnect(t.Context(), "alice", "")
		}
		within(t, "the end of the stream", ended)
		cancel()
	}
}

func TestLifetimeEndsAStreamWhoseProducerKeepsSending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		lived := make(chan time.Duration, 1)
		server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{MaxLifetime: time.Minute}, func(_ context.Context, s *ginsse.Stream) error {
				for n := 0; ; n++ {
					pass(time.Second)
					if err := s.Send(context.Background(), numbered(n)); err != nil {
						if !errors.Is(err, ginsse.ReasonLifetime) {
							t.Errorf("Send: %v", err)
						}
						lived <- time.Since(start)
						return err
					}
				}
			})
		}))
		stream := server.Open(t, "/")
		stream.Patience = time.Hour
		wantCleanEnd(t, stream)
		if d := <-lived; d < 54*time.Second || d > 61*time.Second {
			t.Errorf("the stream lived for %v", d)
		}
	})
}

// The credential expires while the stream writes its first event. It gives no right to the second
// one, which was sent before.
func TestExpiredStreamDeliversNothingMore(t *testing.T) {
	needsHandler(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{WriteTimeout: -1}})
		release := make(chan struct{})
		var armed atomic.Bool
		hook := func(c *gin.Context) {
			c.Writer = &writeHook{c.Writer, func() {
				if armed.CompareAndSwap(true, false) {
					<-release
				}
			}}
		}
		server := ssetest.NewServer(t, serveAt(registry.Handler(), hook, ginsse.Middleware(headerAuth(t))))
		stream := server.Open(t, "/", as("alice"), ssetest.Header("X-Lifetime", "1m"))
		s := registry.Streams("alice")[0]
		synctest.Wait()
		armed.Store(true)
		send(t, registry, "alice", 1)
		synctest.Wait()
		send(t, registry, "alice", 2)
		if err := s.Send(t.Context(), numbered(3)); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		<-s.Done()
		close(release)
		rest, err := stream.WaitEnd()
		var types []string
		for _, e := range rest {
			types = append(types, e.Type)
		}
		if want := []string{"sse.open", "n", "sse.reconnect"}; err != nil || !slices.Equal(types, want) {
			t.Errorf("got %q, %v, want %q", types, err, want)
		}
	})
}

func TestSendOnAFullQueueReturnsWhenTheStreamEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		result := make(chan error, 1)
		server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: time.Minute}, func(ctx context.Context, s *ginsse.Stream) error {
				go func() {
					for {
						if err := s.Send(context.Background(), ginsse.Event{Data: strings.Repeat("x", 50_000)}); err != nil {
							result <- err
							return
						}
					}
				}()
				pass(time.Second) // Send blocks by now, because the client does not read
				s.Disconnect("enough")
				return nil
			})
		}))
		openBody(t, server, "/")
		if err := <-result; !errors.Is(err, ginsse.Reason("enough")) {
			t.Errorf("Send returned %v", err)
		}
	})
}

// A log may notify after Append has returned. So a stream that has just written and then finds that
// it has ended reads once more: an event may have been sent in between.
func TestEndedStreamReadsOnceMore(t *testing.T) {
	needsHandler(t)
	t.Parallel()
	log := &silentLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
	var armed atomic.Bool
	unlocks := make(chan func(), 1)
	hook := func(c *gin.Context) {
		c.Writer = &writeHook{c.Writer, func() {
			if !armed.CompareAndSwap(true, false) {
				return
			}
			s := registry.Streams("alice")[0]
			log.silent.Store(true)
			send(t, registry, "alice", 1)
			unlocks <- registry.Lock() // the end is seen before its wake-up comes
			go s.Disconnect("bye")
			<-s.Done()
		}}
	}
	stream := ssetest.NewServer(t, serveAt(registry.Handler(), hook, ginsse.Middleware(headerAuth(t)))).Open(t, "/", as("alice"))
	stream.NextOf("sse.open")
	armed.Store(true)
	sent := make(chan error, 1)
	go func() { // it may have to wait until the registry is unlocked
		_, err := registry.SendTo(t.Context(), "alice", numbered(0))
		sent <- err
	}()
	unlock := within(t, "the write", unlocks)
	first, second := stream.Next(), stream.Next()
	unlock()
	check(t, within(t, "sending", sent))
	if first.Data != "0" || second.Data != "1" {
		t.Errorf("got %+v and %+v, though two events were sent before the end", first, second)
	}
	wantClose(t, stream, "bye")
}

// silentLog does not notify while it is silent.
type silentLog struct {
	*eventlog.MemoryLog

	silent atomic.Bool
}

func (l *silentLog) Watch(fn func(subject string, seq uint64)) (stop func()) {
	return l.MemoryLog.Watch(func(subject string, seq uint64) {
		if !l.silent.Load() {
			fn(subject, seq)
		}
	})
}
