package sqllog

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// Messages of [eventlog.SharedLog] are rows of a table, which are removed after a minute. A
// partitioned node loses those.

// messages are the messages of a log.
type messages struct {
	waiting chan message  // for the poster
	seen    atomic.Uint64 // id of the last message that was read

	mu        sync.Mutex // guards receivers
	receivers []*receiver
}

type message struct {
	to   string // allNodes, or a name
	body []byte
}

type receiver struct {
	name string
	fn   func(message []byte)
}

const (
	// allNodes stands for all nodes. No node has this name.
	allNodes = "*"
	// waitingMessages is how many messages may wait for the poster.
	waitingMessages = 1024
	// maxMessages and maxMessageBytes bound what the poster stores at once.
	maxMessages     = 64
	maxMessageBytes = 1 << 20
	// keepMessages is how long messages are kept.
	keepMessages = time.Minute
	// largestMessage is what [eventlog.SharedLog] allows.
	largestMessage = 64 << 10
)

// nodeName matches the names that [eventlog.SharedLog] allows.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9]{1,32}$`)

// Post implements [eventlog.SharedLog].
//
// Errors: [eventlog.ErrUnavailable] without contact, or if too many messages wait to be stored;
// [eventlog.ErrClosed]; and one for an invalid name or a message that is too large.
func (l *Log) Post(to string, body []byte) error {
	switch {
	case to != "" && !nodeName.MatchString(to): // it may be from another node's message
		return fmt.Errorf("sqllog: %q is not the name of a node", to)
	case len(body) > largestMessage:
		return fmt.Errorf("sqllog: a message has %d bytes, more than %d", len(body), largestMessage)
	}
	if err := l.Ready(); err != nil {
		return err
	}
	select {
	case l.messages.waiting <- message{cmp.Or(to, allNodes), append([]byte{}, body...)}:
		return nil
	default:
		return fmt.Errorf("%w: %d messages wait to be sent", eventlog.ErrUnavailable, waitingMessages)
	}
}

// Receive implements [eventlog.SharedLog]. One goroutine of the log calls fn.
func (l *Log) Receive(name string, fn func(message []byte)) (stop func()) {
	r := &receiver{name, fn}
	m := &l.messages
	m.mu.Lock()
	defer m.mu.Unlock()
	m.receivers = append(m.receivers, r)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		var others []*receiver
		for _, other := range m.receivers {
			if other != r {
				others = append(others, other)
			}
		}
		m.receivers = others
	}
}

// poster stores messages until the log is closed. Those that it cannot store are lost.
func (l *Log) poster() {
	for failed := false; ; {
		select {
		case first := <-l.messages.waiting:
			ctx, cancel := context.WithTimeout(l.life, l.cfg.AppendTimeout)
			err := l.dialect.post(ctx, l.gatherMessages(first))
			cancel()
			if err != nil && !failed && l.life.Err() == nil {
				l.cfg.Logger.Warn("cannot send messages to other nodes, which do not know who is online here", slog.Any("error", err))
			}
			failed = err != nil
			l.kick()
		case <-l.life.Done():
			return
		}
	}
}

func (l *Log) gatherMessages(first message) []message {
	batch, bytes := []message{first}, len(first.body)
	for len(batch) < maxMessages && bytes < maxMessageBytes {
		select {
		case m := <-l.messages.waiting:
			batch, bytes = append(batch, m), bytes+len(m.body)
		default:
			return batch
		}
	}
	return batch
}

// receive hands new messages to their receivers. newest is the last id, which is lower than before
// if the server has lost its messages, or if all were removed.
func (l *Log) receive(ctx context.Context, db queries, newest uint64) error {
	m := &l.messages
	seen := m.seen.Load()
	if newest < seen {
		m.seen.Store(newest)
		return nil
	}
	rows, err := db.QueryContext(ctx, l.tables(`select id, receiver, body from {messages} where id > $1 order by id`), seen)
	if err != nil {
		return fmt.Errorf("reading messages: %w", err)
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	m.mu.Lock()
	receivers := m.receivers
	m.mu.Unlock()
	for rows.Next() {
		var id uint64
		var to string
		var body []byte
		if err := rows.Scan(&id, &to, &body); err != nil {
			return fmt.Errorf("reading messages: %w", err)
		}
		for _, r := range receivers {
			if to == allNodes || to == r.name {
				r.fn(append([]byte{}, body...)) // it owns the message
			}
		}
		m.seen.Store(id)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading messages: %w", err)
	}
	return nil
}
