package redislog

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
)

// Messages of [eventlog.SharedLog] are published. A partitioned node loses those.

// messages are the messages of a log.
type messages struct {
	waiting chan message // for the poster
	channel string       // prefix of the channels: a database has its own

	mu           sync.Mutex // guards the fields below
	receivers    []*receiver
	subscription *redis.PubSub
	received     chan struct{} // closed when the messages of the subscription have been handed over
}

type message struct {
	channel string
	body    []byte
}

type receiver struct {
	channel string
	fn      func(message []byte)
	ready   chan struct{} // closed when the channel of the receiver is subscribed to
}

const (
	// waitingMessages is how many messages may wait for the poster.
	waitingMessages = 1024
	// maxMessages is how many messages the poster sends at once.
	maxMessages = 64
	// largestMessage is what [eventlog.SharedLog] allows.
	largestMessage = 64 << 10
	// subscriptionCheck is how often an idle subscription is tested.
	subscriptionCheck = time.Second
	// receivedMessages is how many messages may wait for their receivers.
	receivedMessages = 1024
)

// nodeName matches the names that [eventlog.SharedLog] allows.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9]{1,32}$`)

// subscribe starts the receiving of messages.
func (l *Log) subscribe(ctx context.Context) error {
	client, err := l.server.get(ctx)
	if err != nil {
		return err
	}
	m := &l.messages
	m.waiting = make(chan message, waitingMessages)
	m.channel = l.keys.prefix + strconv.Itoa(client.Options().DB) + ":"
	m.subscription = client.Subscribe(l.life, m.channel)   //nolint:contextcheck // it lives as long as the log
	if _, err := m.subscription.Receive(ctx); err != nil { // the confirmation
		return err
	}
	m.received = make(chan struct{})
	close(m.received) // there was no subscription before
	l.startReceiving()
	return nil
}

// resubscribe replaces the subscription. The client does not notice that its connection is dead, or
// is to a server that has been replaced, before the kernel gives it up.
func (l *Log) resubscribe() {
	client, err := l.server.get(l.life)
	m := &l.messages
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil || l.life.Err() != nil {
		return // the next connection of the tail has it made again
	}
	_ = m.subscription.Close()
	channels := []string{m.channel}
	for _, r := range m.receivers {
		channels = append(channels, r.channel)
	}
	slices.Sort(channels)
	m.subscription = client.Subscribe(l.life, slices.Compact(channels)...)
	l.startReceiving()
}

// startReceiving has a goroutine hand over the messages of a new subscription, after those of the one
// before.
func (l *Log) startReceiving() {
	m := &l.messages
	messages := m.subscription.ChannelWithSubscriptions(redis.WithChannelHealthCheckInterval(subscriptionCheck), redis.WithChannelSize(receivedMessages))
	before, received := m.received, make(chan struct{})
	m.received = received
	l.running.Go(func() {
		defer close(received)
		<-before
		l.receive(messages)
	})
}

func (l *Log) unsubscribe() {
	l.messages.mu.Lock()
	defer l.messages.mu.Unlock()
	if l.messages.subscription != nil {
		_ = l.messages.subscription.Close()
	}
}

// Post implements [eventlog.SharedLog].
//
// Errors: [eventlog.ErrUnavailable] without contact, or if too many messages wait to be sent;
// [eventlog.ErrClosed]; and one for an invalid name or a message that is too large.
func (l *Log) Post(to string, body []byte) error {
	switch {
	case to != "" && !nodeName.MatchString(to): // it may be from another node's message
		return fmt.Errorf("redislog: %q is not the name of a node", to)
	case len(body) > largestMessage:
		return fmt.Errorf("redislog: a message has %d bytes, more than %d", len(body), largestMessage)
	}
	if err := l.Ready(); err != nil {
		return err
	}
	select {
	case l.messages.waiting <- message{l.messages.channel + to, slices.Clone(body)}:
		return nil
	default:
		return fmt.Errorf("%w: %d messages wait to be sent", eventlog.ErrUnavailable, waitingMessages)
	}
}

// Receive implements [eventlog.SharedLog]. One goroutine of the log calls fn.
func (l *Log) Receive(name string, fn func(message []byte)) (stop func()) {
	m := &l.messages
	r := &receiver{m.channel + name, fn, make(chan struct{})}
	m.mu.Lock()
	m.receivers = append(slices.Clone(m.receivers), r)
	subscription := m.subscription
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(l.life, requestTimeout)
	defer cancel()
	if err := subscription.Subscribe(ctx, r.channel); err == nil {
		select {
		case <-r.ready:
		case <-ctx.Done(): // it is subscribed to when the connection is there again
		}
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		// The channel stays subscribed to: the call could wait as long as the server does not answer.
		m.receivers = slices.DeleteFunc(slices.Clone(m.receivers), func(other *receiver) bool { return other == r })
	}
}

// receive hands messages to their receivers until the subscription is closed.
func (l *Log) receive(messages <-chan any) {
	m := &l.messages
	current := func() []*receiver {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.receivers
	}
	for one := range messages {
		switch one := one.(type) {
		case *redis.Subscription:
			for _, r := range current() {
				if one.Kind == "subscribe" && one.Channel == r.channel {
					select {
					case <-r.ready: // the connection was lost meanwhile
					default:
						close(r.ready)
					}
				}
			}
		case *redis.Message:
			for _, r := range current() {
				if one.Channel == m.channel || one.Channel == r.channel {
					r.fn([]byte(one.Payload))
				}
			}
		}
	}
}

// poster sends messages until the log is closed. Those that it cannot send are lost.
func (l *Log) poster() {
	for failed := false; ; {
		select {
		case first := <-l.messages.waiting:
			err := l.publish(first)
			if err != nil && !failed && l.life.Err() == nil {
				l.cfg.Logger.Warn("cannot send messages to other nodes, which do not know who is online here", slog.Any("error", err))
			}
			failed = err != nil
		case <-l.life.Done():
			return
		}
	}
}

// publish sends a message, and others that wait.
func (l *Log) publish(first message) error {
	return l.server.do(l.life, func(ctx context.Context, client *redis.Client) error {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		pipe := client.Pipeline()
		pipe.Publish(ctx, first.channel, first.body)
		for range maxMessages - 1 {
			select {
			case m := <-l.messages.waiting:
				pipe.Publish(ctx, m.channel, m.body)
				continue
			default:
			}
			break
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}
