package ginsse

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// Close ends all streams at once, each with sse.reconnect and the reason "shutdown". From then on
// the registry takes no streams and no events.
//
// Close does not wait for the streams: it is made for http.Server.RegisterOnShutdown, and the
// server then waits for the handlers. The server does not wait for compact streams: use
// [Registry.Shutdown] for those. With an [eventlog.SharedLog], Close waits up to 1 s for the other
// nodes to be notified. It may be repeated.
func (r *Registry) Close() {
	r.mu.Lock()
	closed := r.state == stateClosed
	r.state = stateClosed
	r.closed.Store(true)
	r.mu.Unlock()
	if !closed {
		r.unwatch()
		for _, s := range r.allStreams() {
			s.end(ReasonShutdown)
		}
	}
	runs := r.endRuns(ErrClosed)
	r.end()
	r.presence.Stop()
	// Afterwards the application may close the log.
	late := make(chan struct{})
	timer := time.AfterFunc(goodbyeTimeout, func() { close(late) })
	defer timer.Stop()
	waitFor := func(done <-chan struct{}) {
		select {
		case <-done:
		case <-late:
		}
	}
	for _, run := range runs {
		waitFor(run.done)
	}
	if r.cluster != nil {
		waitFor(r.presence.Done())
		r.cluster.stop()
	}
}

// allStreams returns the streams of this node, also those that follow runs.
func (r *Registry) allStreams() []*Stream {
	streams := r.subscribers.streams(eventlog.SubjectAll)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range r.followers.byUser {
		streams = append(streams, list...)
	}
	return streams
}

// goodbyeTimeout is how long Close waits for a log that hangs.
const goodbyeTimeout = time.Second

// Shutdown ends the streams one after another, in random order, so that their clients do not come
// back all at once. It takes [RegistryConfig.ShutdownWindow], or three quarters of the time until
// ctx's deadline if that is less. Events still go out meanwhile. New streams are asked to come back
// later, to the node that answers then. When all handlers, hooks and runs have returned, and the
// connections of compact streams are closed, Shutdown closes the registry. If ctx has a deadline, the
// ctx of a run that still goes on ends after three quarters of the time.
//
// If ctx ends first, Shutdown closes the registry and returns the cause. It may be repeated, also
// while another call is in progress.
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
		most := time.Until(deadline) * 3 / 4
		window = min(window, most)
		defer time.AfterFunc(most, func() { r.endRuns(ReasonShutdown) }).Stop()
	}
	if err := endGradually(ctx, r.allStreams(), window, ReasonShutdown); err != nil {
		return err
	}
	select {
	case <-idle:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// endGradually ends streams one after another, in random order, within a time. The end of ctx stops
// it, and its cause is returned.
func endGradually(ctx context.Context, streams []*Stream, window time.Duration, reason Reason) error {
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
