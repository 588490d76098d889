package logtest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

// appendIsVisible appends frames of different forms and subjects of each kind.
func appendIsVisible(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	for _, frame := range [][]byte{
		frame(1),
		[]byte(": comment\n\n"),
		[]byte("event: a\ndata: id: 1\ndata: \n\n"),
		append(bytes.Repeat([]byte("data: \x00é\n"), 10_000), '\n'),
		longFrame(100_000),
	} {
		for _, subject := range []string{alice, all, "topic:t", "command:alice"} {
			r := newReader(t, log, subject)
			at, err := log.Append(t.Context(), eventlog.Record{Subject: subject, Frame: frame})
			if err != nil {
				t.Fatalf("appending %d bytes to %q: %v", len(frame), subject, err)
			}
			found := r.all(t)
			if len(found) != 1 {
				t.Fatalf("%q: found %d entries after Append had returned", subject, len(found))
			}
			if e := found[0]; e.At != at || e.Subject != subject || !bytes.Equal(frameOf(e), frame) {
				t.Errorf("%q: appended %d bytes at %+v, found %d bytes of %q at %+v", subject, len(frame), at, len(frameOf(e)), e.Subject, e.At)
			}
		}
	}
}

// attributesArrive appends a frame with attributes, which a log carries as it is.
func attributesArrive(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(t, log, alice)
	attributes := eventlog.Attributes{Except: "stream", Expires: 1 << 50, Seen: 7, Trace: "00-a-b-01 x=y"}
	if _, err := log.Append(t.Context(), eventlog.Record{Subject: alice, Frame: append(attributes.Append(nil), frame(1)...)}); err != nil {
		t.Fatal(err)
	}
	add(t, log, alice, 2)
	found := r.all(t)
	want(t, found, 1, 2)
	if len(found) != 2 {
		return
	}
	if a := found[0].Attributes; a == nil || *a != attributes {
		breaksf(t, clauseAttributes, "appended the attributes %+v, found %+v", attributes, a)
	}
	if a := found[1].Attributes; a != nil {
		breaksf(t, clauseAttributes, "an entry without attributes has %+v", a)
	}
}

// frameBelongsToTheCaller overwrites frames after Append has returned, with an error or without.
// After an error, only the log knows whether the entry was stored.
func frameBelongsToTheCaller(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(t, log, alice)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for n := 10; n < 30; n++ {
		given := record(alice, n)
		_, _ = log.Append(ended, given)
		copy(given.Frame, "data: 99")
	}
	for n := 30; n < 50; n++ {
		given := record(alice, n)
		if _, err := log.Append(t.Context(), given); err != nil {
			t.Fatal(err)
		}
		copy(given.Frame, "data: 99")
	}
	last := 0
	var acknowledged []*eventlog.Entry
	for _, e := range r.all(t) {
		n := number(e)
		if n <= last || n >= 50 {
			t.Errorf("read %q after event %d", e.Block, last)
		}
		if last = n; n >= 30 {
			acknowledged = append(acknowledged, e)
		}
	}
	want(t, acknowledged, from(30, 49)...)
}

// invalidRecord appends what no registry appends. The contract leaves it to the log whether it
// looks. An error must be ErrInvalidRecord, and nothing else may change.
func invalidRecord(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(t, log, alice)
	add(t, log, alice, 1)
	for _, record := range invalidRecords(t) {
		before := head(t, log)
		_, err := log.Append(t.Context(), record)
		if err != nil && !errors.Is(err, eventlog.ErrInvalidRecord) {
			t.Errorf("appending %q to %q: %v", record.Frame, record.Subject, err)
		}
		if after := head(t, log); err != nil && after != before {
			t.Errorf("%q to %q was refused, and the head moved from %+v to %+v", record.Frame, record.Subject, before, after)
		}
	}
	add(t, log, alice, 4)
	want(t, r.all(t), 1, 4)
}

// invalidRecords have a wrong subject or a wrong frame.
func invalidRecords(t *testing.T) (records []eventlog.Record) {
	t.Helper()
	for _, subject := range []string{
		"", "alice", "user:", "user", ":alice", "other:alice", "all:", "user:a\nb", "user:\xff", "topic:" + strings.Repeat("x", eventlog.MaxNameBytes+1),
	} {
		if _, _, ok := eventlog.SplitSubject(subject); ok {
			t.Fatalf("%q is a subject", subject)
		}
		records = append(records, record(subject, 2))
	}
	for _, frame := range []string{"", "\n", "\n\n", "data: 2", "data: 2\n", "data: 2\n\n\n", "data: 2\n\ndata: 3\n\n", "data: 2\r\n\r\n", "\ndata: 2\n\n"} {
		if eventlog.CheckFrame([]byte(frame)) == nil {
			t.Fatalf("%q is a frame", frame)
		}
		records = append(records, eventlog.Record{Subject: bob, Frame: []byte(frame)})
	}
	return records
}
