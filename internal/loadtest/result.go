package loadtest

import (
	"net"
	"net/url"
	"time"
)

// Result is what a run has found. Counts of streams and reconnects include the time of opening.
type Result struct {
	OpeningSeconds float64 `json:"openingSeconds"` // from the first stream to the last
	Seconds        float64 `json:"seconds"`        // from then on, until the last event was sent

	Streams    Streams        `json:"streams"`
	Opening    Times          `json:"opening"` // from dialing a stream to the header of its response
	Reconnects int            `json:"reconnects"`
	Ends       map[string]int `json:"ends"`   // of connections, by reason
	Errors     map[string]int `json:"errors"` // of attempts, by kind
	Gaps       map[string]int `json:"gaps"`   // the kit's sse.gap, by reason

	Events int `json:"events"` // that have arrived at all streams, without the kit's own
	// EventsPerSecond counts those that arrived during Seconds.
	EventsPerSecond float64 `json:"eventsPerSecond"`
	Own             int     `json:"own"`   // the kit's own, such as heartbeats
	Bytes           int     `json:"bytes"` // of data
	IDs             IDs     `json:"ids"`

	Sent *Sent `json:"sent,omitempty"` // nil if nothing was sent
	Tool Tool  `json:"tool"`
}

// Streams counts streams.
type Streams struct {
	Asked  int `json:"asked"`
	Opened int `json:"opened"` // at least once
	Open   int `json:"open"`   // at the end
	Closed int `json:"closed"` // for good: by the server, or refused
}

// IDs counts events whose ID is wrong. Only the positions of the kit have an order.
type IDs struct {
	Repeated int `json:"repeated"` // has come before
	Behind   int `json:"behind"`   // lower than one before
	Unknown  int `json:"unknown"`  // not a position of the kit, and not checked
}

// Sent says what became of the events that were sent.
type Sent struct {
	Events        int            `json:"events"`        // of which Failed may not have been sent
	Failed        map[string]int `json:"failed"`        // requests, by kind of failure
	FirstFailure  string         `json:"firstFailure"`  // what the server said to the first of them
	Answers       Times          `json:"answers"`       // of the requests
	BehindSeconds float64        `json:"behindSeconds"` // most that an event was sent after it was due

	Expecting  int `json:"expecting"`  // streams that were open before the first event
	Arrived    int `json:"arrived"`    // at all streams, each event once
	Missing    int `json:"missing"`    // at all streams that should have received them
	Incomplete int `json:"incomplete"` // streams at which events are missing
	Twice      int `json:"twice"`
	OutOfOrder int `json:"outOfOrder"` // after an event that was sent when this one had been answered
	Foreign    int `json:"foreign"`    // at a stream of another user

	Latency   Times     `json:"latency"` // from when an event was due to be sent to its arrival at a stream
	Histogram Histogram `json:"-"`       // of Latency
}

// Times are percentiles of durations, in milliseconds.
type Times struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

func timesOf(h *histogramMax) Times {
	at := func(q float64) float64 { return millis(min(h.Quantile(q), h.max)) }
	return Times{Count: h.Total(), P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: millis(h.max)}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Failed reports whether events were lost, came twice or in the wrong order, or came to the stream
// of another user. A gap that the server has announced counts as a loss, and it is a failure if no
// event could be sent.
func (r Result) Failed() bool {
	s := r.Sent
	return len(r.Gaps) > 0 || r.IDs.Repeated+r.IDs.Behind > 0 ||
		s != nil && (s.Missing+s.Twice+s.OutOfOrder+s.Foreign > 0 || s.NoneSent())
}

// NoneSent reports whether every request to send has failed.
func (s *Sent) NoneSent() bool { return s.Events > 0 && s.Events == sum(s.Failed) }

// IsToolBusy reports whether the latencies say much about the tool itself: it used nearly all of its
// CPUs, or its goroutines waited for one during a good part of the latency.
func (r Result) IsToolBusy() bool {
	wait := r.Tool.WaitMillis
	return r.Tool.Busiest > 0.8 || r.Sent != nil && wait > 5 && wait > r.Sent.Latency.P99/4
}

// result returns what was found so far.
func (r *run) result() Result {
	t := r.sum()
	result := Result{
		Streams:    Streams{Asked: len(r.streams), Opened: t.opened, Open: t.open, Closed: t.closed},
		Opening:    timesOf(&t.opening),
		Reconnects: t.reconnects,
		Ends:       t.ends,
		Errors:     t.errors,
		Gaps:       t.gaps,
		Events:     t.events,
		Own:        t.own,
		Bytes:      t.bytes,
		IDs:        IDs{Repeated: t.idsRepeated, Behind: t.idsBehind, Unknown: t.idsUnknown},
	}
	if r.sender != nil {
		result.Sent = r.sender.result(t)
	}
	return result
}

func (s *sender) result(t *tally) *Sent {
	result := &Sent{
		Arrived: t.arrived, Twice: t.twice, OutOfOrder: t.late, Foreign: t.foreign,
		Failed: s.failed, FirstFailure: s.first, Answers: timesOf(&s.answers), BehindSeconds: s.behind.Seconds(),
		Latency: timesOf(&t.latency), Histogram: t.latency.Histogram,
	}
	for _, from := range s.sources {
		result.Events += from.sent
	}
	for _, st := range s.run.streams {
		st.count(func() {
			if st.expects {
				result.Expecting++
			}
			if missing := st.missing(); missing > 0 {
				result.Missing += missing
				result.Incomplete++
			}
		})
	}
	return result
}

// addressOf returns the host and port of a URL.
func addressOf(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
