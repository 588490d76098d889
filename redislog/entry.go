package redislog

import (
	"bytes"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// An entry of the stream holds events with consecutive numbers that were appended at the same time, at
// most maxBatch. Its ID is the number of the last one, and the check of all. The fields are
//
//	a: when it was stored in ms since 1970, the check of the entry before, the bytes of all entries up
//	   to this one, and how many events it has
//	e: of each event the lengths of subject, key and frame, and these: "8 0 25 user:bobevent: …"
//
// An event with a key or a DedupKey has an entry of its own, so scripts need not read field e.

// sizeOfEvent returns the most bytes that a record needs in field e.
func sizeOfEvent(r eventlog.Record) int {
	const digits = len("4294967296 ")
	return 3*digits + len(r.Subject) + len(r.Key) + len(r.Frame)
}

// appendEvent appends a record to field e.
func appendEvent(b []byte, r eventlog.Record) []byte {
	for _, n := range [...]int{len(r.Subject), len(r.Key), len(r.Frame)} {
		b = append(strconv.AppendInt(b, int64(n), 10), ' ')
	}
	return append(append(append(b, r.Subject...), r.Key...), r.Frame...)
}

// cutEvent takes the first record from field e. Its frame is a part of b.
func cutEvent(b []byte) (r eventlog.Record, rest []byte, err error) {
	var parts [3][]byte
	var lengths [3]int
	for i := range lengths {
		length, rest, found := bytes.Cut(b, []byte(" "))
		n, err := strconv.ParseUint(string(length), 10, 31)
		if !found || err != nil {
			return r, nil, errForm
		}
		lengths[i], b = int(n), rest
	}
	for i, n := range lengths {
		if n > len(b) {
			return r, nil, errForm
		}
		parts[i], b = b[:n:n], b[n:]
	}
	return eventlog.Record{Subject: string(parts[0]), Key: string(parts[1]), Frame: parts[2]}, b, nil
}

// storedEvent is an event as it comes from Redis.
type storedEvent struct {
	*eventlog.WindowEntry

	previous uint32 // check of the event before
	total    int64  // bytes of all entries up to that of the event
}

// parse reads the entries of an answer of XRANGE.
func (l *Log) parse(epoch uint32, answer any) (events []storedEvent, err error) {
	list, ok := answer.([]any)
	if !ok {
		return nil, errForm
	}
	for _, one := range list {
		if events, err = l.parseEntry(events, epoch, one); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// parseEntry appends the events of an entry. What is not an event has no block: it keeps its place in
// the order and is not delivered. An entry that does not say how many events it has, has none.
func (l *Log) parseEntry(events []storedEvent, epoch uint32, answer any) ([]storedEvent, error) {
	pair, _ := answer.([]any)
	if len(pair) != 2 {
		return nil, errForm
	}
	id, _ := pair[0].(string)
	last, err := parseID(epoch, id)
	if err != nil {
		return nil, err
	}
	fields, _ := pair[1].([]any)
	var about, text string
	for i := 0; i+1 < len(fields); i += 2 {
		value, _ := fields[i+1].(string)
		switch fields[i] {
		case "a":
			about = value
		case "e":
			text = value
		}
	}
	var numbers [4]uint64
	for i := range numbers {
		var number string
		number, about, _ = strings.Cut(about, " ")
		if numbers[i], err = strconv.ParseUint(number, 10, 63); err != nil {
			l.warnOfEntry(id, err)
			return events, nil
		}
	}
	at, previous, total, count := numbers[0], uint32(numbers[1]), numbers[2], numbers[3]
	if count < 1 || count > min(maxBatch, last.Seq) {
		l.warnOfEntry(id, fmt.Errorf("%w: %d events", errForm, count))
		return events, nil
	}
	frames := []byte(text)
	for i := range count {
		e := &eventlog.WindowEntry{Time: time.UnixMilli(int64(at))}
		e.At = eventlog.Cursor{Epoch: epoch, Seq: last.Seq - count + 1 + i, Check: last.Check}
		var r eventlog.Record
		r, frames, err = cutEvent(frames)
		if err == nil {
			err = l.cfg.check(r)
		}
		if err == nil {
			e.Entry = eventlog.NewEntry(e.At, r)
		} else {
			l.warnOfEntry(id, err)
		}
		events = append(events, storedEvent{e, previous, int64(total)})
		previous = last.Check
	}
	return events, nil
}

func (l *Log) warnOfEntry(id string, err error) {
	l.warned.Do(func() {
		l.cfg.Logger.Warn("an entry of the log is not an event, and is not delivered; further ones are not logged", slog.String("id", id), slog.Any("error", err))
	})
}

// parseID reads the ID of an entry: the number of its last event, and its check.
func parseID(epoch uint32, id string) (eventlog.Cursor, error) {
	number, check, _ := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return eventlog.Cursor{}, fmt.Errorf("%w: the ID %.60q", errForm, id)
	}
	c, err := strconv.ParseUint(check, 10, 64)
	if err != nil {
		return eventlog.Cursor{}, fmt.Errorf("%w: the ID %.60q", errForm, id)
	}
	return eventlog.Cursor{Epoch: epoch, Seq: seq, Check: uint32(c)}, nil
}
