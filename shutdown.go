package ginsse

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Close ends all streams at once, each with sse.reconnect and reason "shutdown", and
// has the registry take no more streams or events. It does not wait for them: it is
// made for http.Server.RegisterOnShutdown, and the server then waits for the
// handlers. It may be repeated. With a [SharedLog] it tells the other nodes, which
// takes 1 s at most.
func (r *Registry) Close() {
	r.mu.Lock()
	closed := r.state == stateClosed
	r.state = stateClosed
	r.closed.Store(true)
	r.mu.Unlock()
	if !closed {
		r.stop()
		for _, s := range r.audience(subjectAll) {
			s.end(ReasonShutdown)
		}
		r.end()
	}
	if r.shared != nil {
		// The others know then, and the log may be closed.
		select {
		case <-r.presence.Done():
		case <-time.After(farewellTimeout):
		}
	}
}

// farewellTimeout bounds what Close waits for a log that hangs.
const farewellTimeout = time.Second

// Shutdown ends the streams one after another, in random order, over
// [RegistryConfig.ShutdownWindow] or three quarters of the time until ctx's
// deadline, whichever is less, so that their clients do not come back all at
// once. Events still go out meanwhile; new streams are told to come back later,
// to whichever node answers then. When all handlers and hooks have returned, the
// registry is closed.
//
// If ctx ends first, Shutdown does what [Registry.Close] does and returns the
// cause. It may be repeated, also while another call is in progress.
func (r *Registry) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	r.mu.Lock()
	if r.state == stateOpen {
		r.state = stateDraining
	}
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	idle := r.idle
	r.wakeIdleLocked()
	r.mu.Unlock()
	defer r.Close()

	window := r.cfg.ShutdownWindow
	if deadline, ok := ctx.Deadline(); ok {
		window = min(window, time.Until(deadline)*3/4)
	}
	if err := disperse(ctx, r.audience(subjectAll), window, ReasonShutdown); err != nil {
		return err
	}
	select {
	case <-idle:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if r.shared != nil {
		if err := r.tellAgain(ctx); err != nil {
			r.logger.Warn("other nodes were not told who is to be disconnected", slog.Any("error", err))
		}
	}
	return nil
}

// disperse ends streams one after another, in random order, over a time, so that their
// clients do not come back all at once. The end of ctx stops it, and its cause is
// returned.
func disperse(ctx context.Context, streams []*Stream, window time.Duration, reason Reason) error {
	rand.Shuffle(len(streams), func(i, j int) { streams[i], streams[j] = streams[j], streams[i] })
	// Ticks end as many streams as are due by the time that has passed.
	const tick = 10 * time.Millisecond
	timer := time.NewTicker(tick)
	defer timer.Stop()
	start := time.Now()
	for ended := 0; ended < len(streams); {
		due := len(streams)
		if passed := time.Since(start); passed < window {
			due = min(due, 1+int(float64(len(streams))*float64(passed)/float64(window)))
		}
		for ; ended < due; ended++ {
			streams[ended].end(reason)
		}
		if ended == len(streams) {
			break
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
