package ginsse

import (
	"context"
	"errors"
	"fmt"
)

// StateFunc sends the state that a page needs before it can follow changes; see [WithState].
type StateFunc func(ctx context.Context, state *State) error

// WithState has a function send the state before events that change it. It is called when a stream
// starts without a position and after each gap: once with no topic, for what is the user's own, and
// once for each topic of the stream. After a grant it is called for the new topic.
//
// The stream's position is fixed before the call, and what the function sends is written before any
// event from after that position. So nothing that changes meanwhile is lost, and no change comes
// before the state. A change may be in the state and come as an event too: the page must be able to
// apply an event to a state that has it already, for example by a version. Read the state from the
// database that you write to, not from a replica that lags behind it.
//
// What it sends carries no ID. The client has its position when it has the whole state: if the
// connection is lost before, the next stream sends the state anew. A client that resumes without a
// gap gets no state.
//
// The function runs on a goroutine of its own. Its ctx ends with the stream, or after
// [RegistryConfig.StateTimeout], and carries no values of the request. At most
// [RegistryConfig.MaxStates] run at a time. If it returns an error or panics, that is logged, none of
// the state is sent, and the client is asked to come back later: a topic without a state, such as
// one that was deleted, is no error.
func WithState(fn StateFunc) ServeOption {
	return serveOption(func(o *streamOptions) error {
		if fn == nil {
			return errors.New("ginsse: WithState: the function is nil")
		}
		o.preludes.state = fn
		return nil
	})
}

// WithLatest sends first the newest event of each [Event.Key] that the log has for the stream's user,
// topics and broadcasts, when the stream starts without a position and after each gap. These events
// carry no ID. For a granted topic it does so only with [WithHistory].
func WithLatest() ServeOption {
	return serveOption(func(o *streamOptions) error {
		o.preludes.latest = true
		return nil
	})
}

// State collects what a [StateFunc] sends. It is valid until the function returns, and not for
// concurrent use.
type State struct {
	s     *Stream
	topic string
	bytes []byte
	most  int
}

// Topic returns the topic whose state is asked for; "" for what is the user's own.
func (st *State) Topic() string { return st.topic }

// UserID returns the user that the stream belongs to.
func (st *State) UserID() string { return st.s.user }

// Stream returns the stream, for example for its metadata.
func (st *State) Stream() *Stream { return st.s }

// Send adds an event. The events go out in this order, after the function has returned.
//
// Errors: [ErrInvalidEvent]; [ErrEventTooLarge] if the whole state exceeds
// [RegistryConfig.MaxStateBytes]. After an error the event was not added.
func (st *State) Send(e Event) error {
	if e.ID != "" || e.ResetID {
		return fmt.Errorf("%w: ID is set, and the events of a state have none", ErrInvalidEvent)
	}
	if err := e.checkUnregistered(); err != nil {
		return err
	}
	b, err := e.appendTo(st.bytes)
	if err != nil {
		return err
	}
	if len(b) > st.most {
		return fmt.Errorf("%w: the state of the stream exceeds MaxStateBytes, %d", ErrEventTooLarge, st.s.registry.cfg.MaxStateBytes)
	}
	st.bytes = b
	return nil
}
