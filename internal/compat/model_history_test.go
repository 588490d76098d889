package compat_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// record is an event that was sent, as known to the model.
type record struct {
	seq     uint64
	id      string // "" if no receipt had it
	subject string
	data    string
	cost    int64     // its share of MaxBytes
	sent    time.Time // when it was sent
	lost    time.Time // when it left the history by count or bytes; zero if it did not
}

// history is the naive model of the log: all events that were ever sent, in order, with the time at
// which they were lost. It scans all of them for each question.
type history struct {
	cfg      eventlog.MemoryLogConfig // without zeros
	overhead int64                    // cost of an entry beside its frame and subject
	records  []*record                // sequence n is at index n-1
}

func (h *history) head() uint64 { return uint64(len(h.records)) }

// cost returns an event's share of MaxBytes.
func (h *history) cost(subject, data string) int64 {
	return h.overhead + int64(len(subject)+len("event: n\ndata: \n\n")+len(data))
}

// commandCost is what a command to disconnect a user counts for.
func (h *history) commandCost(user, reason string) int64 {
	return h.overhead + int64(len("command:"+user)+len("event: disconnect\ndata: {\"reason\":\"\"}\n\n")+len(reason))
}

// add records an event that was sent now.
func (h *history) add(subject, data, id string) {
	h.addRecord(&record{id: id, subject: subject, data: data, cost: h.cost(subject, data)})
}

// addCommand takes in a command to disconnect a user.
func (h *history) addCommand(user, reason string) {
	h.addRecord(&record{subject: "command:" + user, cost: h.commandCost(user, reason)})
}

func (h *history) addRecord(r *record) {
	now := time.Now()
	subject := r.subject
	r.seq, r.sent = h.head()+1, now
	h.records = append(h.records, r)
	kept := h.kept(subject)
	for len(kept) > h.cfg.EventsPerSubject || len(kept) > 1 && bytesOf(kept) > h.cfg.MaxBytes/4 {
		kept[0].lost = now
		kept = kept[1:]
	}
	for {
		var bytes int64
		var quiet *record // the newest record of the least recently used subject
		newest := make(map[string]*record)
		for _, r := range h.records {
			if r.lost.IsZero() {
				bytes += r.cost
				newest[r.subject] = r
			}
		}
		if bytes <= h.cfg.MaxBytes {
			return
		}
		for _, r := range newest {
			if quiet == nil || r.seq < quiet.seq {
				quiet = r
			}
		}
		h.kept(quiet.subject)[0].lost = now
	}
}

func bytesOf(records []*record) (bytes int64) {
	for _, r := range records {
		bytes += r.cost
	}
	return bytes
}

// kept returns the records of a subject that were not lost by count or bytes.
func (h *history) kept(subject string) []*record {
	var kept []*record
	for _, r := range h.records {
		if r.subject == subject && r.lost.IsZero() {
			kept = append(kept, r)
		}
	}
	return kept
}

// next returns the first event of the subjects after a position, lost or not, or nil.
func (h *history) next(subjects []string, after uint64) *record {
	for _, r := range h.records[after:] {
		if slices.Contains(subjects, r.subject) {
			return r
		}
	}
	return nil
}

// lostBetween reports whether an event of the subjects in (after, through] was lost by the time at.
func (h *history) lostBetween(subjects []string, after, through uint64, at time.Time) bool {
	for _, r := range h.records[after:through] {
		if slices.Contains(subjects, r.subject) &&
			(!r.lost.IsZero() && !r.lost.After(at) || at.Sub(r.sent) >= h.cfg.MaxAge) {
			return true
		}
	}
	return false
}

// entryOverhead measures how many bytes a MemoryLog counts for an entry beside its frame and
// subject. It finds the smallest log that accepts an empty entry.
func entryOverhead(tb testing.TB) int64 {
	tb.Helper()
	least := eventlog.Record{Subject: eventlog.SubjectAll, Frame: []byte(":\n\n")}
	for bytes := int64(1); bytes < 1<<14; bytes++ {
		log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{MaxBytes: bytes})
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := log.Append(context.Background(), least); err == nil {
			return bytes - int64(len(least.Subject)+len(least.Frame))
		}
	}
	tb.Fatal("no log takes a small entry")
	return 0
}
