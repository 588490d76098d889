package ginsse

import (
	"context"
	"encoding/json"
	"runtime/debug"
)

// guardObservers returns observers whose panics end nothing: they run on goroutines of senders, of requests
// and of the registry. One in Written or Delivered ends its stream.
func (r *Registry) guardObservers(observers []*Observer) []*Observer {
	guarded := make([]*Observer, 0, len(observers))
	for _, o := range observers {
		if o == nil {
			continue
		}
		guarded = append(guarded, &Observer{
			Opened:    guard2(r, "Opened", o.Opened),
			Refused:   guard1(r, "Refused", o.Refused),
			Ended:     guard2(r, "Ended", o.Ended),
			Gap:       guard2(r, "Gap", o.Gap),
			Commanded: guard2(r, "Commanded", o.Commanded),
			Sending:   guardSending(r, o.Sending),
			Sent:      guard2(r, "Sent", o.Sent),
			Appended:  guard1(r, "Appended", o.Appended),
			Written:   o.Written, // a guard costs 10 ns, and a stream has one already
			Delivered: o.Delivered,
			LogReady:  guard1(r, "LogReady", o.LogReady),
			Answer:    guardAnswer(r, o.Answer),
		})
	}
	return guarded
}

func guard1[A any](r *Registry, name string, f func(A)) func(A) {
	if f == nil {
		return nil
	}
	return func(a A) {
		defer r.recoverObserver(name)
		f(a)
	}
}

func guard2[A, B any](r *Registry, name string, f func(A, B)) func(A, B) {
	if f == nil {
		return nil
	}
	return func(a A, b B) {
		defer r.recoverObserver(name)
		f(a, b)
	}
}

// guardSending passes the context on after a panic, or if the observer returns none.
func guardSending(r *Registry, f func(context.Context, Sending) (context.Context, string)) func(context.Context, Sending) (context.Context, string) {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, s Sending) (told context.Context, trace string) {
		defer func() {
			if told == nil {
				told = ctx
			}
		}()
		defer r.recoverObserver("Sending")
		return f(ctx, s)
	}
}

func guardAnswer(r *Registry, f func(string) json.RawMessage) func(string) json.RawMessage {
	if f == nil {
		return nil
	}
	return func(question string) json.RawMessage {
		defer r.recoverObserver("Answer")
		return f(question)
	}
}

// panickedIn is a function of observers that has panicked, in Registry.warned.
type panickedIn string

// recoverObserver is deferred. It logs the first panic of a function, which may panic for each event.
func (r *Registry) recoverObserver(name string) {
	if p := recover(); p != nil {
		if _, logged := r.warned.LoadOrStore(panickedIn(name), true); !logged {
			go r.logPanic("Observer."+name, p, debug.Stack()) // as a logger may wait
		}
	}
}
