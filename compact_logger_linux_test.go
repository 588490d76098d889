package ginsse_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/ginsse/ginsse"
)

// Tests of loggers that do not do well. They run in both modes.

// handlerFunc is a slog.Handler.
type handlerFunc func(r slog.Record)

func (f handlerFunc) Enabled(context.Context, slog.Level) bool      { return true }
func (f handlerFunc) Handle(_ context.Context, r slog.Record) error { f(r); return nil }
func (f handlerFunc) WithAttrs([]slog.Attr) slog.Handler            { return f }
func (f handlerFunc) WithGroup(string) slog.Handler                 { return f }

func TestLoggerThatWaitsDoesNotDelayOtherStreams(t *testing.T) {
	t.Parallel()
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprint("compact_", compact), func(t *testing.T) {
			t.Parallel()
			const far = 20 // more than there are writers
			gate, waiting := make(chan struct{}), make(chan struct{}, far)
			defer close(gate)
			logger := slog.New(handlerFunc(func(r slog.Record) {
				if r.Message == "stream ended" {
					waiting <- struct{}{}
					<-gate
				}
			}))
			registry := newRegistry(t, ginsse.RegistryConfig{
				Logger: logger, Stream: ginsse.StreamConfig{Compact: compact}, MaxStreamsPerUser: -1,
			})
			server := transports[0].start(t, newEngine(t, registry), nil)
			for range far {
				openRaw(t, server, rawRequest{user: "far"})
			}
			near := openRaw(t, server, rawRequest{user: "near"})
			if compact {
				untilCompact(t, registry, far+1)
			}
			disconnect(t, registry, "far", "")
			within(t, "the logger", waiting)
			send(t, registry, "near", 1)
			near.readUntil("event: n\ndata: 1\n")
		})
	}
}

func TestLoggerThatPanicsDoesNotEndTheProcess(t *testing.T) {
	t.Parallel()
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprint("compact_", compact), func(t *testing.T) {
			t.Parallel()
			inOwnProcess(t, func(t *testing.T) {
				var opened atomic.Bool
				panics := make(chan string, 10)
				logger := slog.New(handlerFunc(func(r slog.Record) {
					if opened.Load() && r.Message != "stream opened" { // the client may have its first block before
						panics <- r.Message
						panic("a fault of the logger")
					}
				}))
				registry := newRegistry(t, ginsse.RegistryConfig{Logger: logger, Stream: ginsse.StreamConfig{Compact: compact}})
				server := transports[0].start(t, newEngine(t, registry), nil)
				far := openRaw(t, server, rawRequest{user: "far"})
				near := openRaw(t, server, rawRequest{user: "near"})
				if compact {
					untilCompact(t, registry, 2)
				}
				opened.Store(true)
				disconnect(t, registry, "far", "")
				for _, want := range []string{"stream ended", "panic in the Logger"} {
					if got := within(t, "the logger", panics); got != want {
						t.Errorf("the registry has logged %q, want %q", got, want)
					}
				}
				for far.next() {
				}
				send(t, registry, "near", 1)
				near.readUntil("event: n\ndata: 1\n")
				if err := registry.Shutdown(t.Context()); err != nil { // waits for the hooks
					t.Error(err)
				}
			})
		})
	}
}
