package debug

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// report is what one node says of itself.
type report struct {
	Name    string       `json:"name"` // see Config.Name
	Started time.Time    `json:"started"`
	Stats   ginsse.Stats `json:"stats"`
	Lag     lag          `json:"lag"`

	LogError string    `json:"log_error,omitempty"`
	LogSince time.Time `json:"log_since,omitzero"`
	HeadAt   time.Time `json:"head_at,omitzero"` // since when the head has not moved, as far as pages have looked

	Ends     counts `json:"ends"`
	Refusals counts `json:"refusals"`
	Gaps     counts `json:"gaps"`
	Resumes  counts `json:"resumes"`

	Series   series `json:"series"`
	Minute   minute `json:"minute"`
	Delivery delays `json:"delivery"`
	Appends  delays `json:"appends"`
	Lasted   delays `json:"lasted"` // streams that have ended in the last minute

	Entries []entry `json:"entries"`
}

// lag says how far streams are behind.
type lag struct {
	Slowest int64 `json:"slowest"` // in events
	Over100 int   `json:"over_100"`
	Over1k  int   `json:"over_1000"`
}

// series are values for each of the last 120 s, the oldest first.
type series struct {
	Opened    []uint64 `json:"opened"`
	Ended     []uint64 `json:"ended"`
	Sent      []uint64 `json:"sent"`
	Delivered []uint64 `json:"delivered"`
	Delay     []uint64 `json:"delay"` // 99th percentile, in microseconds
}

// minute has what should not happen, in the last minute.
type minute struct {
	Returned uint64 `json:"returned"` // streams of clients that had one before
	Refused  uint64 `json:"refused"`
	Gaps     uint64 `json:"gaps"`
	Failed   uint64 `json:"failed"`
	Failure  string `json:"failure,omitempty"` // the last one
}

// request is what a page asks all nodes for: the entries of a stream or a user, or the newest.
type request struct {
	Stream string `json:"stream,omitempty"`
	User   string `json:"user,omitempty"`
}

// questionPrefix begins the questions to observers of this package.
const questionPrefix = "ginsse/debug "

func (r request) question() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings always marshal
	}
	return questionPrefix + string(text)
}

// answer answers a question of a page, of this node or another.
func (p *Page) answer(question string) json.RawMessage {
	text, ours := strings.CutPrefix(question, questionPrefix)
	var asked request
	if !ours || json.Unmarshal([]byte(text), &asked) != nil {
		return nil
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // would make some characters six times as long
	if err := encoder.Encode(p.report(asked)); err != nil {
		return nil
	}
	return b.Bytes()
}

func (p *Page) report(asked request) *report {
	now := time.Now().Round(0)
	rec := p.recorder
	w := &rec.window
	made := &report{
		Name: p.cfg.Name, Started: p.started,
		Minute: minute{
			Returned: w.sum(countReturned, now), Refused: w.sum(countRefused, now),
			Gaps: w.sum(countGaps, now), Failed: w.sum(countFailed, now),
		},
		Entries: rec.journal.find(asked.Stream, asked.User),
		Series: series{
			Opened: w.series(countOpened, now), Ended: w.series(countEnded, now),
			Sent: w.series(countSent, now), Delivered: w.series(countDelivered, now),
		},
	}
	made.Delivery, made.Series.Delay = w.delays(now, func(s *slot) *histogram { return &s.delivery })
	made.Appends, _ = w.delays(now, func(s *slot) *histogram { return &s.appends })
	made.Lasted, _ = w.delays(now, func(s *slot) *histogram { return &s.lasted })
	if registry := p.registry.Load(); registry != nil {
		made.Stats = registry.Stats()
		for _, s := range registry.AllStreams() {
			made.Lag.add(s.Stats().Lag)
		}
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	made.Ends, made.Refusals = maps.Clone(rec.ends), maps.Clone(rec.refusals)
	made.Gaps, made.Resumes = maps.Clone(rec.gaps), maps.Clone(rec.resumes)
	made.LogError, made.LogSince = rec.logError, rec.logSince
	if rec.head != made.Stats.Head || rec.headAt.IsZero() {
		rec.head, rec.headAt = made.Stats.Head, now
	}
	made.HeadAt = rec.headAt
	if made.Minute.Failed > 0 {
		made.Minute.Failure = rec.failure
	}
	return made
}

func (l *lag) add(events int64) {
	l.Slowest = max(l.Slowest, events)
	if events > 100 {
		l.Over100++
	}
	if events > 1000 {
		l.Over1k++
	}
}

// readReport returns the report of a node. That of another node may be of another version, or forged
// at the broker: it is nil if it is no report, and its texts are short.
func readReport(data json.RawMessage) *report {
	r := new(report)
	if data == nil || json.Unmarshal(data, r) != nil {
		return nil
	}
	for _, text := range []*string{&r.Name, &r.LogError, &r.Minute.Failure} {
		*text = clip(*text, maxDetail)
	}
	if !isShowable(r.Started) || !isShowable(r.LogSince) || !isShowable(r.HeadAt) {
		return nil
	}
	if log := r.Stats.Log; log != nil && (!isShowable(log.Since) || log.Store != nil && !isShowable(log.Store.Heard)) {
		return nil
	}
	r.Entries = r.Entries[:min(len(r.Entries), maxShown)]
	for i := range r.Entries {
		e := &r.Entries[i]
		if !isShowable(e.At) {
			return nil
		}
		e.Stream, e.User = clip(e.Stream, maxNameBytes), clip(e.User, eventlog.MaxNameBytes)
		e.What, e.Detail = clip(e.What, maxNameBytes), clip(e.Detail, maxDetail)
	}
	return r
}

// isShowable reports whether a time can be written as JSON, which reads some that it cannot write.
func isShowable(t time.Time) bool {
	_, err := t.MarshalText()
	return err == nil
}
