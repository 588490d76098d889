package natslog

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse"
)

// Messages of [ginsse.SharedLog] are core NATS messages beside the stream: nothing stores them,
// and what finds a node out of touch is lost.

// Post implements [ginsse.SharedLog].
//
// Errors: [ErrUnavailable] without a connection, [ErrClosed], [ginsse.ErrInvalidSubject]
// for what is no name.
func (l *Log) Post(to string, message []byte) error {
	switch {
	case to != "" && !nodeName.MatchString(to): // it may have come from a message
		return fmt.Errorf("%w: no node has the name %q", ginsse.ErrInvalidSubject, to)
	case l.closed():
		return ErrClosed
	case !l.broker.nc.IsConnected():
		return fmt.Errorf("%w: %w", ErrUnavailable, nats.ErrDisconnected) // the client would keep it and send it later
	}
	if err := l.broker.nc.Publish(l.messageSubject(to), message); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// Receive implements [ginsse.SharedLog]. fn is called by one goroutine. What keeps the log
// from receiving, such as the broker's permissions, is logged at level warn.
func (l *Log) Receive(name string, fn func(message []byte)) (stop func()) {
	// One channel: messages to all and to one keep the order in which they were posted.
	messages := make(chan *nats.Msg, pendingMessages)
	var subscriptions []*nats.Subscription
	for _, to := range []string{"", name} {
		s, err := l.broker.nc.ChanSubscribe(l.messageSubject(to), messages)
		if err != nil {
			l.deaf(err)
			continue
		}
		subscriptions = append(subscriptions, s)
	}
	end := make(chan struct{})
	go func() {
		// The broker refuses a subscription later than it was made.
		if err := l.broker.nc.FlushTimeout(requestTimeout); err == nil && errors.Is(l.broker.nc.LastError(), nats.ErrPermissionViolation) {
			l.deaf(l.broker.nc.LastError())
		}
		for {
			select {
			case <-end:
				return
			default:
			}
			select {
			case m := <-messages:
				fn(m.Data)
			case <-end:
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(end)
		for _, s := range subscriptions {
			_ = s.Unsubscribe() // without a connection the broker has forgotten it
		}
	})
}

func (l *Log) deaf(err error) {
	l.cfg.Logger.Warn("receiving messages of other nodes", slog.Any("error", err))
}

// nodeName matches the names that [ginsse.SharedLog] allows.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9]{1,32}$`)

// pendingMessages is how many may wait for fn; more are lost.
const pendingMessages = 1024

// messageSubject is beside the subjects of the stream, which must not store it.
func (l *Log) messageSubject(to string) string {
	if to == "" {
		return l.cfg.Prefix + ".nodes"
	}
	return l.cfg.Prefix + ".node." + to
}
