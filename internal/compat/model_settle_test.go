package compat_test

import (
	"context"
	"errors"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
)

// maxHeartbeat is the default of StreamConfig.HeartbeatInterval.
const maxHeartbeat = 15 * time.Second

// settle waits until nothing moves, and compares the kit with the model.
func (w *world) settle() {
	synctest.Wait()
	w.mustNotHaveFailed()
	w.look()
	attached := w.streams()
	online := make(map[string]bool)
	count := 0
	for _, s := range w.sessions {
		w.place(s, attached[s.n] != nil)
		if _, ok := attached[s.n]; ok != (s.phase != gone) {
			w.tb.Fatalf("session %d of %s: is attached: %v, want %v", s.n, s.user, ok, s.phase != gone)
		}
		if s.phase != gone {
			online[s.user] = true
			count++
		}
		if err := s.check(w.h); err != nil {
			w.tb.Fatalf("session %d of %s: %v", s.n, s.user, err)
		}
	}
	for _, user := range users {
		if got := w.registry.Online(user); got != online[user] {
			w.tb.Fatalf("%s is online: %v, want %v", user, got, online[user])
		}
	}
	if stats := w.registry.Stats(); stats.Streams != count || stats.Users != len(online) {
		w.tb.Fatalf("the registry counts %d streams of %d users, want %d of %d", stats.Streams, stats.Users, count, len(online))
	}
}

// look checks what the clients have read since the last look.
func (w *world) look() {
	for _, s := range w.sessions {
		if err := s.look(w.h); err != nil {
			w.tb.Fatalf("session %d of %s: %v", s.n, s.user, err)
		}
	}
}

// place updates the phase of a session when nothing moves. If the model could not know the phase,
// the registry's answer counts.
func (w *world) place(s *session, attached bool) {
	holding, first := s.gate.state()
	s.client.mu.Lock()
	left := s.client.left
	s.client.mu.Unlock()
	if s.phase == gone {
		return
	}
	switch {
	case len(s.endings) > 0 && !attached, left && !holding, s.late && !attached:
		s.phase = gone
		s.ended = len(s.endings) > 0
	case holding && first:
		s.phase = joining
	default:
		s.phase = live
	}
	if attached {
		s.endings = nil // none of the possible endings happened
	}
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.settle()
	time.Sleep(d)
	synctest.Wait()
	for _, s := range w.sessions {
		if !s.limited.IsZero() && time.Since(s.limited) >= writeTimeout {
			s.late = true
		}
	}
	w.settle()
	if d <= maxHeartbeat {
		return
	}
	// Heartbeats must have moved the position of an idle stream to the head.
	for _, s := range w.sessions {
		if s.phase == live && s.flows() && !s.late && s.last().seq != w.h.head() {
			w.tb.Fatalf("session %d of %s: after %v without an event its last event ID is %d of %d", s.n, s.user, d, s.last().seq, w.h.head())
		}
	}
}

// end closes the registry and checks the final state.
func (w *world) end(how string) {
	switch how {
	case "close":
		w.close()
	case "settle and close":
		w.free()
		w.settle()
		w.close()
	case "shutdown":
		w.free()
		w.settle()
		w.shutdown()
	}
	w.free()
	w.settle()
	if n := w.registry.Stats().Streams; n != 0 {
		w.tb.Fatalf("%d streams are attached after the end", n)
	}
	for _, what := range []sending{{users: users[:1]}, {users: users}, {all: true}, {topic: topics[0]}} {
		if _, err := w.emit(what, "late"); !errors.Is(err, ginsse.ErrClosed) {
			w.tb.Fatalf("%v after the end: error %v, want ErrClosed", what, err)
		}
	}
	w.open(command{do: "open", from: "fresh", read: -1})
	w.settle()
	for _, chain := range w.chains {
		if err := chain.check(w.h); err != nil {
			w.tb.Fatalf("%v", err)
		}
	}
	w.checkHooks()
}

// free releases all held streams, and lets all clients read without a limit.
func (w *world) free() {
	for _, s := range w.sessions {
		w.release(s)
		s.client.mu.Lock()
		left := s.client.left
		s.client.mu.Unlock()
		if !left {
			s.client.permit(-1, false)
		}
	}
}

func (w *world) close() {
	for _, s := range w.sessions {
		s.end(ginsse.ReasonShutdown, true, w.h.head())
	}
	w.closed = true
	w.registry.Close()
}

// shutdown sends events while Shutdown ends the streams one after another.
func (w *world) shutdown() {
	for _, s := range w.sessions {
		if s.phase != gone {
			s.endings = append(s.endings, ending{ginsse.ReasonShutdown, true, w.h.head(), unknown})
		}
	}
	done := make(chan error, 1)
	go func() { done <- w.registry.Shutdown(context.Background()) }()
	for range 3 {
		time.Sleep(time.Second)
		data := w.data(1)
		receipt, err := w.emit(sending{all: true}, data)
		if errors.Is(err, ginsse.ErrClosed) {
			break
		}
		if err != nil {
			w.tb.Fatalf("sending during Shutdown: %v", err)
		}
		w.h.add("all", data, receipt.ID)
	}
	// After the window, a stream may take as long as one write may.
	time.Sleep(5*time.Second + 2*writeTimeout)
	w.closed = true
	select {
	case err := <-done:
		if err != nil {
			w.tb.Fatalf("Shutdown: %v", err)
		}
	default:
		w.tb.Fatalf("Shutdown has not returned")
	}
}

// checkHooks requires that both hooks ran once for each opened stream, the second with the reason
// of its end.
func (w *world) checkHooks() {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sessions {
		ran := w.hooks[s.n]
		if ran["connect"] != ran["disconnect"] || ran["connect"] > 1 || s.opened && ran["connect"] != 1 {
			w.tb.Fatalf("session %d of %s: ran hooks %v", s.n, s.user, ran)
		}
		if s.opened && s.closed != nil && ran[string(s.closed.reason)] != 1 {
			w.tb.Fatalf("session %d of %s: closed for %q, ran hooks %v", s.n, s.user, s.closed.reason, ran)
		}
	}
}
