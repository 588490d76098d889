package ginsse

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/presence"
)

// StreamFilter chooses streams for [Registry.ListStreams]. The zero StreamFilter chooses the newest
// of all.
type StreamFilter struct {
	UserID string // only streams of this user; "" for all users
	Topic  string // only streams that read this topic; "" for all
	Limit  int    // most streams, those that opened last. Default 1,000; at most 10,000
	// Slowest chooses those with the largest lag instead, and returns them first.
	Slowest bool
}

// StreamInfo describes a stream of any node.
type StreamInfo struct {
	UserID string    `json:"user"`
	ID     string    `json:"stream"` // see [Stream.ID]
	Node   string    `json:"node"`   // a random name, which a node has until it ends
	Opened time.Time `json:"opened"` // by the clock of the node
	Topics []string  `json:"topics,omitempty"`
	// Compact is whether the registry's writers write it: see [StreamConfig.Compact].
	Compact bool `json:"compact,omitempty"`
	StreamStats
}

const (
	defaultListLimit = 1000
	maxListLimit     = 10_000
	// answerTimeout is how long other nodes may take to answer.
	answerTimeout = 2 * time.Second
)

// ListStreams returns the live streams of all nodes that match a filter, the newest or slowest first. It is for
// a page of an administrator: each call asks all nodes.
//
// It waits for the answers of all nodes that this node knows of, for 2 s, or until ctx ends. If some
// are missing, it returns what it has, and an error that says how many: [ErrIncomplete].
//
// Other errors: [ErrInvalidSubject], and [ErrClosed].
func (r *Registry) ListStreams(ctx context.Context, filter StreamFilter) ([]StreamInfo, error) {
	if filter.Limit <= 0 {
		filter.Limit = defaultListLimit
	}
	filter.Limit = min(filter.Limit, maxListLimit)
	q := question{UserID: filter.UserID, Topic: filter.Topic, Limit: filter.Limit, Slowest: filter.Slowest}
	all, err := r.ask(ctx, q)
	return all.streams, err
}

// CountStreams returns how many live streams read a topic, on all nodes. A user with two tabs counts
// twice: see [Registry.Present] for users.
//
// It asks all nodes, as [Registry.ListStreams] does, and returns the same errors.
func (r *Registry) CountStreams(ctx context.Context, topic string) (int, error) {
	if err := checkName("topic", topic); err != nil {
		return 0, err
	}
	all, err := r.ask(ctx, question{Topic: topic})
	return all.count, err
}

// question asks the nodes for their streams. With a limit of 0 it asks for their number alone, and with
// a text for what their observers say.
type question struct {
	ID      string `json:"id"`
	Node    string `json:"node"` // which asks
	UserID  string `json:"user,omitempty"`
	Topic   string `json:"topic,omitempty"`
	Limit   int    `json:"limit,omitempty"`
	Slowest bool   `json:"slowest,omitempty"`
	Text    string `json:"text,omitempty"`
}

// answer is one part of what a node answers.
type answer struct {
	Node    string          `json:"node"`
	Part    int             `json:"part"` // from 1
	Parts   int             `json:"parts"`
	Count   int             `json:"count,omitempty"` // in each part
	Streams []StreamInfo    `json:"streams,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"` // of an observer
}

func (q question) check() error {
	if q.UserID != "" {
		if err := checkName("user ID", q.UserID); err != nil {
			return err
		}
	}
	if q.Topic != "" {
		return checkName("topic", q.Topic)
	}
	if len(q.Text) > maxQuestionBytes {
		return fmt.Errorf("ginsse: a question of %d bytes; at most %d", len(q.Text), maxQuestionBytes)
	}
	return nil
}

// ask asks all nodes, this one among them.
func (r *Registry) ask(ctx context.Context, q question) (*answers, error) {
	all := &answers{q: q, parts: make(map[string]map[int]bool)}
	if err := r.maySend(ctx); err != nil {
		return all, err
	}
	if err := q.check(); err != nil {
		return all, err
	}
	local := r.answerTo(q)
	all.streams, all.count = local.Streams, local.Count
	all.data = []NodeAnswer{{Node: r.nodeName(), Data: local.Data}}
	var err error
	if r.cluster != nil {
		err = r.askOthers(ctx, q, all)
	}
	all.trim()
	return all, err
}

// askOthers adds the answers of the other nodes.
func (r *Registry) askOthers(ctx context.Context, q question, all *answers) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	q.ID, q.Node = rand.Text(), r.cluster.node
	inbox, stop := r.questions.open(q.ID)
	defer stop()
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	nodes := r.presence.Nodes()
	posted := r.cluster.Post("", append([]byte{messageQuestion}, text...))
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for waiting := posted == nil; waiting && all.missing(nodes) > 0; {
		select {
		case part := <-inbox:
			all.add(part)
		case <-again.C:
			up := r.presence.Nodes() // a node that has ended has no streams
			nodes = slices.DeleteFunc(nodes, func(node string) bool { return !slices.Contains(up, node) })
		case <-ctx.Done():
			waiting = false
		}
	}
	if posted != nil {
		return fmt.Errorf("%w: they could not be asked: %w", ErrIncomplete, posted)
	}
	if missing := all.missing(nodes); missing > 0 {
		return fmt.Errorf("%w: %d of %d: %w", ErrIncomplete, missing, len(nodes), context.Cause(ctx))
	}
	return nil
}

// answers gathers the answers to a question.
type answers struct {
	q       question
	streams []StreamInfo
	count   int
	data    []NodeAnswer            // in the order of their coming, that of this node first
	parts   map[string]map[int]bool // that have come, by node; nil when all have
}

// missing returns how many of some nodes have not answered in full.
func (a *answers) missing(nodes []string) (n int) {
	for _, node := range nodes {
		if parts, begun := a.parts[node]; !begun || parts != nil {
			n++
		}
	}
	return n
}

// add adds a part of an answer. One that is repeated or not valid is ignored, and so are names that no
// stream can have.
func (a *answers) add(encoded []byte) {
	var part answer
	if json.Unmarshal(encoded, &part) != nil || part.Count < 0 || !presence.IsNode(part.Node) {
		return
	}
	parts, begun := a.parts[part.Node]
	switch {
	case !begun && len(a.parts) < maxAnswers:
		parts = make(map[int]bool)
		a.parts[part.Node] = parts
		a.count += min(part.Count, math.MaxInt32)
		a.data = append(a.data, NodeAnswer{Node: part.Node, Data: part.Data})
	case parts == nil || parts[part.Part]:
		return
	}
	parts[part.Part] = true
	if len(parts) >= part.Parts {
		a.parts[part.Node] = nil
	}
	for _, s := range part.Streams {
		_, err := s.Opened.MarshalText() // JSON reads times that it cannot write
		if eventlog.CheckName(s.UserID) != nil || eventlog.CheckName(s.ID) != nil || len(s.ID) > maxStreamIDBytes || err != nil {
			continue
		}
		s.Topics = slices.DeleteFunc(s.Topics, func(topic string) bool { return eventlog.CheckName(topic) != nil })
		s.Node = part.Node
		a.streams = append(a.streams, s)
	}
	if len(a.streams) > 2*a.q.Limit {
		a.trim()
	}
}

// maxAnswers is the most nodes that may answer.
const maxAnswers = 1000

// trim keeps the newest streams, or the slowest.
func (a *answers) trim() {
	slices.SortFunc(a.streams, func(s, t StreamInfo) int {
		if a.q.Slowest && s.Lag != t.Lag {
			return cmp.Compare(t.Lag, s.Lag)
		}
		return cmp.Or(t.Opened.Compare(s.Opened), cmp.Compare(s.ID, t.ID))
	})
	if limit := a.q.Limit; len(a.streams) > limit {
		clear(a.streams[limit:])
		a.streams = a.streams[:limit]
	}
}

// answerTo returns the answer of this node.
func (r *Registry) answerTo(q question) (a answer) {
	if q.Text != "" {
		a.Data = r.askObservers(q.Text)
		return a
	}
	subject := eventlog.SubjectAll
	switch {
	case q.UserID != "":
		subject = userSubject(q.UserID)
	case q.Topic != "":
		subject = topicPrefix + q.Topic
	}
	if q.Limit == 0 {
		a.Count, _ = r.subscribers.count(subject)
		return a
	}
	for _, s := range chooseStreams(r.subscribers.streams(subject), q.Limit, q.Slowest) {
		topics := s.stream.Topics()
		if q.Topic != "" && !slices.Contains(topics, q.Topic) {
			continue
		}
		slices.Sort(topics)
		a.Streams = append(a.Streams, StreamInfo{
			UserID: s.stream.user, ID: s.stream.id, Node: r.nodeName(), Opened: s.stream.opened.Round(0), Topics: topics,
			Compact: s.stream.Compact(), StreamStats: s.stats,
		})
	}
	return a
}

// listed is a stream and its counts, which change while it is listed.
type listed struct {
	stream *Stream
	stats  StreamStats
}

// chooseStreams returns the newest of some streams, or the slowest, in order.
func chooseStreams(streams []*Stream, limit int, slowest bool) []listed {
	order := func(a, b listed) int {
		if slowest && a.stats.Lag != b.stats.Lag {
			return cmp.Compare(b.stats.Lag, a.stats.Lag)
		}
		return b.stream.opened.Compare(a.stream.opened)
	}
	var list []listed
	cut := func() {
		slices.SortFunc(list, order)
		list = list[:min(limit, len(list))]
	}
	var last *listed // what does not come before it is not chosen
	for _, s := range streams {
		item := listed{s, s.Stats()}
		if last != nil && order(item, *last) >= 0 {
			continue
		}
		if list = append(list, item); len(list) >= 2*limit {
			cut()
			last = &listed{list[limit-1].stream, list[limit-1].stats}
		}
	}
	cut()
	return list
}

// nodeName returns the name of this node; "" if it is the only one.
func (r *Registry) nodeName() string {
	if r.cluster == nil {
		return ""
	}
	return r.cluster.node
}

// questions are those of this node that wait for answers.
type questions struct {
	mu      sync.Mutex // guards the field below
	inboxes map[string]chan []byte

	waiting   chan struct{} // has room for maxWaiting; each question puts in and takes out
	answering chan struct{} // has room for maxAnswering; likewise, while it is answered
}

const (
	// inboxParts is how many parts of answers may wait for a question. Others are dropped.
	inboxParts = 256
	// maxAnswering is how many questions a node answers at a time. Up to maxWaiting wait for that or are
	// answered. Others are dropped: the node that asks cannot know it, and waits for answerTimeout.
	maxAnswering = 4
	maxWaiting   = 256
	// maxAnswerBytes bounds the names in a part of an answer. JSON takes at most twice as much, and a
	// stream with 64 topics 16 KiB, so that a message stays below 64 KiB.
	maxAnswerBytes = 12 << 10
	// streamInfoBytes is half of what JSON adds to the names of a stream.
	streamInfoBytes = 160
)

func newQuestions() *questions {
	return &questions{
		inboxes:   make(map[string]chan []byte),
		waiting:   make(chan struct{}, maxWaiting),
		answering: make(chan struct{}, maxAnswering),
	}
}

// open returns where the parts of answers to a question come, until stop is called.
func (q *questions) open(id string) (inbox <-chan []byte, stop func()) {
	parts := make(chan []byte, inboxParts)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inboxes[id] = parts
	return parts, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.inboxes, id)
	}
}

// receive takes a part of an answer: the kind of message, the ID of the question, a line break, JSON.
func (q *questions) receive(message []byte) {
	id, part, found := bytes.Cut(message[1:], []byte("\n"))
	if !found {
		return
	}
	q.mu.Lock()
	inbox := q.inboxes[string(id)]
	q.mu.Unlock()
	select {
	case inbox <- part: // never, if it is nil
	default:
	}
}

// receiveQuestion answers another node, on a goroutine of its own.
func (r *Registry) receiveQuestion(message []byte) {
	var q question
	if json.Unmarshal(message[1:], &q) != nil || !presence.IsNode(q.Node) || q.Node == r.cluster.node || q.check() != nil ||
		len(q.ID) > maxStreamIDBytes || q.Limit < 0 || q.Limit > maxListLimit || r.closed.Load() {
		return
	}
	select {
	case r.questions.waiting <- struct{}{}:
		go func() {
			defer func() { <-r.questions.waiting }()
			r.answerInTurn(q)
		}()
	default:
	}
}

// answerInTurn answers a question when few others are answered. After answerTimeout the node that asks
// no longer waits.
func (r *Registry) answerInTurn(q question) {
	late := time.NewTimer(answerTimeout)
	defer late.Stop()
	select {
	case r.questions.answering <- struct{}{}:
		defer func() { <-r.questions.answering }()
		r.postAnswer(q)
	case <-late.C:
	case <-r.life.Done():
	}
}

// postAnswer sends an answer in parts. One that is lost is missed by the node that asks.
func (r *Registry) postAnswer(q question) {
	whole := r.answerTo(q)
	var parts [][]StreamInfo
	size, first := 0, 0
	for i, s := range whole.Streams {
		size += len(s.UserID) + len(s.ID) + streamInfoBytes
		for _, topic := range s.Topics {
			size += len(topic) + 2
		}
		if size >= maxAnswerBytes {
			parts = append(parts, whole.Streams[first:i+1])
			size, first = 0, i+1
		}
	}
	if rest := whole.Streams[first:]; len(rest) > 0 || len(parts) == 0 {
		parts = append(parts, rest)
	}
	for i, streams := range parts {
		var b bytes.Buffer
		b.WriteByte(messageAnswer)
		b.WriteString(q.ID)
		b.WriteByte('\n')
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false) // would make some characters six times as long
		part := answer{Node: r.cluster.node, Part: i + 1, Parts: len(parts), Count: whole.Count, Streams: streams, Data: whole.Data}
		if err := encoder.Encode(part); err != nil || r.cluster.Post(q.Node, b.Bytes()) != nil {
			return
		}
	}
}
