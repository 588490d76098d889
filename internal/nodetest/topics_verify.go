package nodetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// replay is what a page knows after the steps of its trail, and what was wrong with them.
//
// All that is known of a topic that the page reads is the number of the last event: it has that one
// and those before, or they are covered by its state. A position says the same of all topics.
type replay struct {
	tr    *truth
	user  string
	state bool // the page has states

	reading map[string]bool
	have    map[string]int  // of a topic that is read, the last event; none if it is not known
	present map[string]bool // "topic user"
	values  map[string]int  // of keys

	position uint64          // of the client
	passed   map[string]int  // of each topic, the last event up to the position
	since    uint64          // position after the last gap
	lost     bool            // there was a gap, and no position since
	jumped   map[string]bool // of each topic, whether the position moves without what is between
	newest   map[string]int  // of each topic, the last event on this stream
	opened   time.Time       // when this stream did
	removed  map[string]bool // topics that the page may have removed from this stream
	refused  map[string]bool // topics that were revoked before the stream could begin with their state

	gone                                                        map[string]time.Time // by user: when the page last saw that the user had left
	events, transients, gaps, states, changes, streams, resumed int
	faults                                                      []string
}

// stepData is the data of the kit's events.
type stepData struct {
	Resumed bool     `json:"resumed"`
	Topics  []string `json:"topics"`
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Refused []string `json:"refused"`
	Topic   string   `json:"topic"`
	Reason  string   `json:"reason"`
	User    any      `json:"user"`
	Users   []struct {
		User string `json:"user"`
	} `json:"users"`
}

func (p *page) replay(tr *truth) *replay {
	p.mu.Lock()
	trail := slices.Clip(p.trail)
	p.mu.Unlock()
	r := &replay{
		tr: tr, user: p.user, state: p.state, have: make(map[string]int), values: make(map[string]int),
		passed: make(map[string]int), removed: make(map[string]bool), refused: make(map[string]bool), jumped: make(map[string]bool), gone: make(map[string]time.Time), present: make(map[string]bool),
	}
	for i, s := range trail {
		before := len(r.faults)
		r.take(s)
		if len(r.faults) > before && before == 0 {
			for _, s := range trail[max(0, i-25):min(i+4, len(trail))] {
				r.faults[before] += fmt.Sprintf("\n\t%s %s %.200s %d", s.at.Format("05.000"), s.kind, s.data, sequence(s.id))
			}
		}
	}
	return r
}

func (r *replay) faultf(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// forget forgets topics; with none, all.
func (r *replay) forget(topics ...string) {
	if len(topics) == 0 {
		clear(r.have)
		r.lost = true
		for topic := range r.tr.topics {
			r.jumped[topic] = true
		}
	}
	for _, topic := range topics {
		delete(r.have, topic)
	}
}

func (r *replay) take(s step) {
	var d stepData
	if strings.HasPrefix(s.data, "{") {
		_ = json.Unmarshal([]byte(s.data), &d)
	}
	seq := sequence(s.id)
	if s.id != "" && seq <= r.position {
		r.faultf("%s came at %d, after %d", s.kind, seq, r.position)
	}
	switch s.kind {
	case didReload:
		r.forget()
		r.reading, r.position = nil, 0
		clear(r.values)
	case didRemove:
		r.removed[s.data] = true
	case typeOpen:
		r.open(s, d)
	case typeGap:
		if r.gaps++; d.Reason != "topics" || d.Topic != "" {
			r.faultf("there is a gap: %s", s.data)
		}
		r.forget()
	case "sse.topics":
		r.changes++
		r.advance(seq)
		r.setReading(d.Topics)
		for _, topic := range d.Refused {
			r.refused[topic] = true
		}
		for _, topic := range d.Added {
			delete(r.refused, topic)
			if r.forget(topic); s.id != "" {
				r.have[topic] = r.tr.upTo(topic, seq)
			}
		}
		for topic := range r.tr.topics { // where it was taken away is not known without an ID
			r.jumped[topic] = r.jumped[topic] || s.id == "" && !r.reading[topic]
		}
	case "state":
		r.takeState(s.data)
	case "t":
		r.takeEvent(s.data, s.id)
	case "v":
		r.transients++
		topic, n := topicAndNumber(s.data)
		if tt := r.tr.topics[topic]; tt.members[r.user].transients[n-1] == outside || !r.reading[topic] {
			r.faultf("the transient event %s, sent at %s before event %d, is from outside of a grant", s.data,
				tt.transients[n-1].began.Format("05.000"), tt.transients[n-1].next)
		}
	case "k":
		key, n := topicAndNumber(s.data)
		r.values[key] = n
	case "sse.close":
		r.faultf("the stream was closed: %s", s.data)
	}
	r.advance(seq)
	r.takePresence(s, d)
}

// takePresence notes who comes and leaves.
func (r *replay) takePresence(s step, d stepData) {
	before := r.users()
	switch s.kind {
	case typeOpen, typeGap:
		clear(r.present)
	case "sse.topics":
		r.leave(d.Added...)
		r.leave(d.Removed...)
	case "sse.present":
		r.leave(d.Topic)
		for _, u := range d.Users {
			r.present[d.Topic+" "+u.User] = true
		}
	case "sse.join":
		r.present[fmt.Sprint(d.Topic, " ", d.User)] = true
	case "sse.leave":
		delete(r.present, fmt.Sprint(d.Topic, " ", d.User))
	}
	now := r.users()
	for user := range before {
		if !now[user] {
			r.gone[user] = s.at
		}
	}
}

func topicAndNumber(data string) (topic string, n int) {
	_, _ = fmt.Sscan(data, &topic, &n)
	return topic, n
}

// open begins a stream.
func (r *replay) open(s step, d stepData) {
	r.streams++
	r.opened, r.newest = s.at, make(map[string]int)
	clear(r.removed)
	clear(r.refused)
	if !d.Resumed {
		r.forget()
		r.setReading(d.Topics)
		return
	}
	r.resumed++
	for _, topic := range d.Topics {
		_, known := r.have[topic]
		switch {
		case known:
		case r.state && r.reading[topic]:
			r.faultf("the page has a position, and no state of %s", topic)
		default:
			r.have[topic] = r.tr.upTo(topic, r.position)
		}
	}
	r.setReading(d.Topics)
}

func (r *replay) setReading(topics []string) {
	r.reading = make(map[string]bool)
	for _, topic := range topics {
		if r.reading[topic] {
			r.faultf("topic %s is there twice", topic)
		}
		r.reading[topic] = true
	}
	for topic := range r.have {
		if !r.reading[topic] {
			delete(r.have, topic)
		}
	}
}

func (r *replay) takeState(data string) {
	r.states++
	topic, n := topicAndNumber(data)
	switch {
	case !r.reading[topic]:
		r.faultf("there is a state of %s, which is not read", topic)
	case strings.HasSuffix(data, "outsider"):
		r.faultf("the state %s was read after the revocation", data)
	}
	r.have[topic] = n
}

func (r *replay) takeEvent(data, id string) {
	r.events++
	topic, n := topicAndNumber(data)
	t := r.tr.topics[topic]
	e := t.events[n-1]
	switch have, known := r.have[topic]; {
	case !r.reading[topic]:
		r.faultf("event %s is of a topic that is not read", data)
	case t.members[r.user].events[n-1] == outside:
		r.faultf("event %s was sent outside of a grant: %v", data, t.members[r.user].changesBefore(n))
	case e.seq == 0: // it may be stored at any time
		return
	case id != "" && sequence(id) != e.seq:
		r.faultf("event %s was acknowledged as %d and received as %d", data, e.seq, sequence(id))
	case n <= r.newest[topic]:
		r.faultf("event %s came after %d", data, r.newest[topic])
	case known && r.isMissing(topic, have, n-1):
		r.faultf("event %s came after %d", data, have)
	}
	r.newest[topic], r.have[topic] = n, max(n, r.have[topic])
}

// isMissing reports whether there are events after one number up to another one that were stored.
func (r *replay) isMissing(topic string, after, last int) bool {
	for n := after + 1; n <= last; n++ {
		if r.tr.topics[topic].events[n-1].seq > 0 {
			return true
		}
	}
	return false
}

// advance moves the position. The page must have what is before, of all topics that it should read.
func (r *replay) advance(seq uint64) {
	if seq <= r.position {
		return
	}
	r.position = seq
	if r.lost {
		r.since, r.lost = seq, false
	}
	for topic, t := range r.tr.topics {
		last := r.tr.upTo(topic, seq)
		have, known := r.have[topic]
		switch {
		case !r.reading[topic]:
			for n := r.passed[topic] + 1; n <= last && !r.jumped[topic] && !r.removed[topic] && !r.refused[topic]; n++ {
				if e := t.events[n-1]; e.seq > 0 && e.began.After(r.opened) && t.members[r.user].events[n-1] == inside {
					r.faultf("event %d of %s was sent within a grant at %s as %d, and the topic is not read at %d: %v", n, topic,
						e.began.Format("05.000"), e.seq, seq, t.members[r.user].changesBefore(n))
					break
				}
			}
		case known && r.isMissing(topic, have, last):
			r.faultf("event %d of %s has not come before %d", last, topic, seq)
			r.have[topic] = last
		case !known && !r.state:
			r.have[topic] = last
		}
		r.passed[topic], r.jumped[topic] = last, false
	}
}

// leave forgets who is present at topics.
func (r *replay) leave(topics ...string) {
	for _, topic := range topics {
		for user := range r.presentAt(topic) {
			delete(r.present, topic+" "+user)
		}
	}
}

func (r *replay) presentAt(topic string) map[string]bool {
	users := make(map[string]bool)
	for pair := range r.present {
		if user, ok := strings.CutPrefix(pair, topic+" "); ok {
			users[user] = true
		}
	}
	return users
}

func (r *replay) users() map[string]bool {
	users := make(map[string]bool)
	for pair := range r.present {
		_, user, _ := strings.Cut(pair, " ")
		users[user] = true
	}
	return users
}
