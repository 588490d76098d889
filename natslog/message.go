package natslog

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/eventlog"
)

// Messages of [eventlog.SharedLog] are core NATS messages beside the stream. Nothing stores them,
// so a partitioned node loses them.

// Post implements [eventlog.SharedLog].
//
// Errors: [eventlog.ErrUnavailable] without a connection; [eventlog.ErrClosed]; and one for an
// invalid name.
func (l *Log) Post(to string, message []byte) error {
	switch {
	case to != "" && !nodeName.MatchString(to): // it may be from another node's message
		return fmt.Errorf("natslog: %q is not the name of a node", to)
	case l.closed():
		return eventlog.ErrClosed
	case !l.broker.nc.IsConnected():
		return fmt.Errorf("%w: sending a message: %w", eventlog.ErrUnavailable, nats.ErrDisconnected) // the client would queue the message and send it later
	}
	if err := l.broker.nc.Publish(l.messageSubject(to), message); err != nil {
		return fmt.Errorf("%w: sending a message: %w", eventlog.ErrUnavailable, err)
	}
	return nil
}

// Receive implements [eventlog.SharedLog]. One goroutine calls fn. If the log cannot receive, for
// example because of the broker's permissions, it logs that at level warn.
func (l *Log) Receive(name string, fn func(message []byte)) (stop func()) {
	// There is one channel, so that messages to all nodes and to this one stay in order.
	messages := make(chan *nats.Msg, pendingMessages)
	var subscriptions []*nats.Subscription
	for _, to := range []string{"", name} {
		s, err := l.broker.nc.ChanSubscribe(l.messageSubject(to), messages)
		if err != nil {
			l.cannotReceive(err)
			continue
		}
		subscriptions = append(subscriptions, s)
	}
	end := make(chan struct{})
	go func() {
		// The broker refuses a subscription after Subscribe has returned.
		if err := l.broker.nc.FlushTimeout(requestTimeout); err == nil && errors.Is(l.broker.nc.LastError(), nats.ErrPermissionViolation) {
			l.cannotReceive(l.broker.nc.LastError())
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
			_ = s.Unsubscribe() // without a connection the broker has dropped it
		}
	})
}

func (l *Log) cannotReceive(err error) {
	l.cfg.Logger.Warn("cannot receive messages of other nodes", slog.Any("error", err))
}

// nodeName matches the names that [eventlog.SharedLog] allows.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9]{1,32}$`)

// pendingMessages is how many messages may wait for fn. Further ones are lost.
const pendingMessages = 1024

// messageSubject returns the NATS subject of messages. It is not one of the stream's, so nothing is
// stored.
func (l *Log) messageSubject(to string) string {
	if to == "" {
		return l.cfg.Prefix + ".nodes"
	}
	return l.cfg.Prefix + ".node." + to
}
