package compat_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

var (
	users  = []string{"alice", "bob", "carol"}
	topics = []string{"go", "sse", "weather"}
)

const writeTimeout = 10 * time.Second

// world runs the commands of a plan against the kit and the model.
type world struct {
	tb       *bubbleTB
	h        *history
	registry *ginsse.Registry
	server   *ssetest.Server
	foreign  position // of another log
	sessions []*session
	chains   []*chain
	sent     int // how many events data has made
	closed   bool

	mu    sync.Mutex       // guards the fields below, which handlers and hooks use
	gates []*gate          // by session
	hooks []map[string]int // by session: how often each hook ran, and for which reason
}

// bubbleTB is the testing.TB of a run. It records a failure without failing the test, so that rapid
// can make the plan smaller first.
type bubbleTB struct {
	testing.TB
	mu      sync.Mutex
	failure string // the first
}

// errFailed is the value with which Fatalf panics.
var errFailed = errors.New("the run has failed")

func (tb *bubbleTB) Errorf(format string, args ...any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if tb.failure == "" {
		tb.failure = fmt.Sprintf(format, args...)
	}
}

func (tb *bubbleTB) Fatalf(format string, args ...any) {
	tb.Errorf(format, args...)
	panic(errFailed)
}

func (tb *bubbleTB) Fatal(args ...any) { tb.Fatalf("%s", fmt.Sprint(args...)) }

// run executes a plan in its own bubble, and returns the failure or "".
func run(t *testing.T, p plan) string {
	tb := new(bubbleTB)
	synctest.Test(t, func(t *testing.T) {
		tb.TB = t
		defer func() {
			if p := recover(); p != nil && p != any(errFailed) {
				panic(p)
			}
		}()
		w := newWorld(tb, p)
		defer w.releaseAll()
		step := "at the start"
		defer func() {
			if tb.failure != "" {
				tb.failure = step + ": " + tb.failure
			}
		}()
		for i, c := range p.commands {
			step = fmt.Sprintf("after command %d, %v", i+1, c)
			w.do(c)
			if c.settle {
				w.settle()
			}
		}
		step = "at the end, " + p.end
		w.end(p.end)
	})
	return tb.failure
}

func newWorld(tb *bubbleTB, p plan) *world {
	w := &world{tb: tb, h: &history{cfg: p.log, overhead: p.overhead}}
	log, err := eventlog.NewMemoryLog(p.log)
	if err != nil {
		tb.Fatal(err)
	}
	count := func(s *ginsse.Stream, what string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hooks[s.Metadata()["session"].(int)][what]++
	}
	w.registry, err = ginsse.NewRegistry(ginsse.RegistryConfig{
		Log:               gatedLog{log},
		Stream:            ginsse.StreamConfig{MaxLifetime: -1, WriteTimeout: writeTimeout, Compact: allCompact()},
		MaxStreamsPerUser: -1,
		PresenceGrace:     -1, // who is online is known at any moment
		ConnectFunc:       func(s *ginsse.Stream) { count(s, "connect") },
		DisconnectFunc: func(s *ginsse.Stream, reason ginsse.Reason) {
			count(s, "disconnect")
			count(s, string(reason))
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	other, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	elsewhere, err := other.Append(context.Background(), eventlog.Record{Subject: eventlog.SubjectAll})
	if err != nil {
		tb.Fatal(err)
	}
	w.foreign = position{id: elsewhere.String(), gap: eventlog.GapEpoch}
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(auth), func(c *gin.Context) {
		n, err := strconv.Atoi(c.GetHeader("X-Session"))
		if err != nil {
			tb.Errorf("the session's number: %v", err)
			return
		}
		w.mu.Lock()
		gate := w.gates[n]
		w.mu.Unlock()
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), gateKey{}, gate))
		_ = w.registry.Serve(c,
			ginsse.WithTopics(c.QueryArray("topic")...),
			ginsse.WithMetadata(map[string]any{"session": n}))
	})
	w.server = ssetest.NewServer(tb, engine)
	return w
}

// releaseAll releases everything that waits, so that the bubble can end.
func (w *world) releaseAll() {
	for _, s := range w.sessions {
		s.gate.open()
		s.client.leave()
	}
	w.registry.Close()
}

func (w *world) do(c command) {
	switch c.do {
	case "send":
		w.send(c.send)
	case "storm":
		w.storm(c.storm)
	case "open":
		w.open(c)
	case "leave":
		if s := w.pick(c.pick); s != nil {
			s.client.leave()
		}
	case "read":
		if s := w.pick(c.pick); s != nil {
			s.client.permit(c.read, c.leaves)
			w.mark(s, c.read >= 0)
		}
	case "hold":
		if s := w.pick(c.pick); s != nil && s.phase != opening {
			s.gate.arm(c.holdAt, c.holdAfter)
			w.mark(s, true)
		}
	case "release":
		for _, s := range w.sessions {
			w.release(s)
		}
	case "disconnect":
		w.disconnect(users[c.pick%len(users)], c.reason)
	case "disconnect_one", "send_alone":
		if s := w.pick(c.pick); s != nil {
			w.one(s, c)
		}
	case "overstay":
		if s := w.pick(c.pick); s != nil {
			w.overstay(s, c)
		}
	case "pass":
		w.pass(c.pass)
	default:
		w.tb.Fatalf("no such command: %v", c)
	}
}

// pick returns a session whose client has not left, or nil. A smaller n picks a newer session, so
// that smaller plans are simpler.
func (w *world) pick(n int) *session {
	var present []*session
	for _, s := range w.sessions {
		if !s.over {
			present = append(present, s)
		}
	}
	if len(present) == 0 {
		return nil
	}
	return present[len(present)-1-n%len(present)]
}

// mark records when a session first may have delayed its stream.
func (w *world) mark(s *session, limited bool) {
	if limited && s.limited.IsZero() {
		s.limited = time.Now()
	}
}

func (w *world) release(s *session) {
	if holding, _ := s.gate.state(); holding && s.phase == joining {
		s.phase = opening
	}
	s.gate.open()
}

// data returns unique data for an event.
func (w *world) data(size int) string {
	w.sent++
	return fmt.Sprintf("event%d %s", w.sent, strings.Repeat("x", size))
}

// bounds returns how many streams a receipt must count, and how many it may.
func (w *world) bounds(subject string) (least, most int) {
	for _, s := range w.sessions {
		must, may := s.counts(subject)
		if must {
			least++
		}
		if may {
			most++
		}
	}
	return least, most
}

// emit sends an event with the matching method of the registry.
func (w *world) emit(what sending, data string) (ginsse.Receipt, error) {
	e := ginsse.Event{Type: "n", Data: data}
	switch {
	case what.all:
		return w.registry.Broadcast(w.tb.Context(), e)
	case what.topic != "":
		return w.registry.Publish(w.tb.Context(), what.topic, e)
	case len(what.users) == 1:
		return w.registry.SendTo(w.tb.Context(), what.users[0], e)
	default:
		return w.registry.SendToUsers(w.tb.Context(), what.users, e)
	}
}

// send sends one event and checks its receipt.
func (w *world) send(what sending) {
	data := w.data(what.size)
	least, most, id := 0, 0, ""
	var want error
	var subjects []string
	for _, subject := range what.subjects() {
		if w.h.cost(subject, data) > w.h.cfg.MaxBytes {
			want = ginsse.ErrEventTooLarge
			break
		}
		subjects = append(subjects, subject)
		a, b := w.bounds(subject)
		least, most = least+a, most+b
	}
	receipt, err := w.emit(what, data)
	if !errors.Is(err, want) {
		w.tb.Fatalf("%v: error %v, want %v", what, err, want)
	}
	if len(subjects) == 0 {
		return
	}
	if seq, err := seqOf(receipt.ID); err != nil || seq != w.h.head()+uint64(len(subjects)) {
		w.tb.Fatalf("%v: the receipt is for event %d, %v, after %d events", what, seq, err, w.h.head())
	}
	if receipt.Streams < least || receipt.Streams > most {
		w.tb.Fatalf("%v: the receipt counts %d streams, want from %d to %d", what, receipt.Streams, least, most)
	}
	for i, subject := range subjects {
		if i == len(subjects)-1 {
			id = receipt.ID
		}
		w.h.add(subject, data, id)
	}
}

// storm sends from several goroutines at once. The receipts show the order in the log.
func (w *world) storm(senders [][]sending) {
	type sent struct {
		seq               uint64
		id, subject, data string
	}
	var mu sync.Mutex
	var all []sent
	var wg sync.WaitGroup
	data := make([][]string, len(senders))
	for i, events := range senders {
		for _, what := range events {
			data[i] = append(data[i], w.data(what.size))
		}
		wg.Go(func() {
			last := w.h.head()
			for k, what := range events {
				if w.h.cost(what.subjects()[0], data[i][k]) > w.h.cfg.MaxBytes {
					continue
				}
				least, most := w.bounds(what.subjects()[0])
				receipt, err := w.emit(what, data[i][k])
				if err != nil {
					w.tb.Errorf("%v: %v", what, err)
					return
				}
				if receipt.Streams < least || receipt.Streams > most {
					w.tb.Errorf("%v: the receipt counts %d streams, want from %d to %d", what, receipt.Streams, least, most)
				}
				seq, err := seqOf(receipt.ID)
				if err != nil || seq <= last {
					w.tb.Errorf("%v: the receipt is for event %d, %v, after %d", what, seq, err, last)
				}
				last = seq
				mu.Lock()
				all = append(all, sent{seq, receipt.ID, what.subjects()[0], data[i][k]})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(all, func(a, b sent) int { return int(a.seq) - int(b.seq) })
	for _, e := range all {
		if e.seq != w.h.head()+1 {
			w.tb.Fatalf("an event got the number %d after %d", e.seq, w.h.head())
		}
		w.h.add(e.subject, e.data, e.id)
	}
	w.mustNotHaveFailed()
}

func seqOf(id string) (uint64, error) {
	cursor, err := eventlog.ParseCursor(id)
	return cursor.Seq, err
}

func (w *world) mustNotHaveFailed() {
	w.tb.mu.Lock()
	failed := w.tb.failure != ""
	w.tb.mu.Unlock()
	if failed {
		panic(errFailed)
	}
}

// open opens a stream, in the background.
func (w *world) open(c command) {
	s := &session{
		n:      len(w.sessions),
		user:   users[c.pick%len(users)],
		topics: c.topics,
		since:  w.h.head(),
		gate:   new(gate),
	}
	old := w.earlier(s.user, c.from, c.pick)
	switch {
	case c.from == "foreign":
		s.asked = w.foreign
	case c.from == "garbage":
		s.asked = w.garbage(c.pick)
	case old != nil && c.from == "latest":
		s.asked = old.last()
		if c.sameTopics {
			s.topics = old.topics
		}
		if old.over && old.chain.newest == old && slices.Equal(old.topics, s.topics) {
			s.chain = old.chain // the page of that stream reconnects
		}
	case old != nil:
		s.asked = old.ids[c.pick%len(old.ids)]
	}
	s.subjects = append(s.subjects, "user:"+s.user, "all")
	for _, topic := range s.topics {
		s.subjects = append(s.subjects, "topic:"+topic)
	}
	if s.chain == nil {
		s.chain = &chain{name: fmt.Sprintf("%s's page of session %d", s.user, s.n), subjects: s.subjects, last: s.asked}
		if s.asked.id != "" && s.asked.gap == "" {
			s.chain.started, s.chain.start = true, s.asked.seq
		}
		w.chains = append(w.chains, s.chain)
	}
	s.chain.newest = s
	if c.holdAt > 0 {
		s.gate.arm(c.holdAt, c.holdAfter)
	}
	w.mark(s, c.holdAt > 0 || c.read >= 0)
	w.mu.Lock()
	w.gates = append(w.gates, s.gate)
	w.hooks = append(w.hooks, make(map[string]int))
	w.mu.Unlock()

	header := http.Header{"X-User": {s.user}, "X-Session": {strconv.Itoa(s.n)}}
	query := url.Values{"topic": s.topics}
	if c.byQuery && s.asked.id != "" {
		query.Set("lastEventId", s.asked.id)
	} else if s.asked.id != "" {
		header.Set("Last-Event-ID", s.asked.id)
	}
	var err error
	if s.client, err = dial(w.server, "/events?"+query.Encode(), header, c.read, c.leaves); err != nil {
		w.tb.Fatal(err)
	}
	if w.closed {
		s.endings, s.ended, s.phase = []ending{{ginsse.ReasonShutdown, true, 0, 0}}, true, gone
	}
	w.sessions = append(w.sessions, s)
}

// earlier returns a session of the user to resume from, or nil.
func (w *world) earlier(user, from string, pick int) *session {
	var found []*session
	for _, s := range w.sessions {
		if s.user == user && (from == "latest" || len(s.ids) > 0) {
			found = append(found, s)
		}
	}
	if from == "fresh" || len(found) == 0 {
		return nil
	}
	return found[len(found)-1-pick%len(found)]
}

// garbage returns a last event ID that the log never gave out.
func (w *world) garbage(pick int) position {
	made := []string{"42", "x", strings.Repeat("A", eventlog.CursorLen), strings.Repeat("-_", 2000), "é 'x' \t;"}
	for _, s := range w.sessions {
		if len(s.ids) == 0 {
			continue
		}
		cursor, err := eventlog.ParseCursor(s.ids[0].id)
		if err != nil {
			break
		}
		future, check, short := cursor, cursor, s.ids[0].id[1:]
		future.Seq += 1 << 40
		check.Check++
		made = append(made, future.String(), check.String(), short)
		break
	}
	return position{id: made[pick%len(made)], gap: eventlog.GapUnknown}
}

func (w *world) disconnect(user string, reason ginsse.Reason) {
	least, most := 0, 0
	for _, s := range w.sessions {
		if s.user != user || s.phase == gone {
			continue
		}
		most++
		if s.end(orDisconnected(reason), false, w.h.head()) {
			least++
		}
	}
	var want error // the streams end all the same
	if w.h.commandCost(user, string(reason)) > w.h.cfg.MaxBytes {
		want = ginsse.ErrEventTooLarge
	}
	if n, err := w.registry.Disconnect(w.tb.Context(), user, reason); n < least || n > most || !errors.Is(err, want) {
		w.tb.Fatalf("Disconnect counts %d streams, %v, want from %d to %d, %v", n, err, least, most, want)
	}
	if want == nil {
		w.h.addCommand(user, string(reason))
	}
}

func orDisconnected(reason ginsse.Reason) ginsse.Reason {
	if reason == "" {
		return ginsse.ReasonDisconnected
	}
	return reason
}

// one ends the stream of one session, or sends to it.
func (w *world) one(s *session, c command) {
	if !s.sure() {
		return
	}
	stream := w.streams()[s.n]
	if stream == nil {
		w.tb.Fatalf("session %d of %s has no stream", s.n, s.user)
	}
	if c.do == "disconnect_one" {
		s.end(orDisconnected(c.reason), false, w.h.head())
		stream.Disconnect(c.reason)
		return
	}
	data := w.data(c.size)
	s.alone = append(s.alone, data)
	if err := stream.Send(w.tb.Context(), ginsse.Event{Type: "alone", Data: data}); err != nil {
		w.tb.Fatalf("sending to session %d of %s alone: %v", s.n, s.user, err)
	}
}

// overstay ends a stream that then delivers its backlog too slowly. Each event of the backlog is a
// page of the log.
func (w *world) overstay(s *session, c command) {
	if s.phase != live || !s.sure() || !s.flows() {
		return
	}
	w.mark(s, true)
	s.gate.arm(2, false)
	for range 5 {
		w.send(sending{users: []string{s.user}, size: 60_000})
	}
	w.settle()
	if holding, _ := s.gate.state(); !holding {
		return // the events do not fit into the log
	}
	w.one(s, command{do: "disconnect_one", reason: c.reason})
	s.gate.step() // the stream repeats the read, because it may have passed the end
	synctest.Wait()
	s.gate.step() // the stream sees that it has ended
	w.pass(16 * time.Second)
	w.release(s)
}

// streams returns the streams that are attached, by session.
func (w *world) streams() map[int]*ginsse.Stream {
	streams := make(map[int]*ginsse.Stream)
	for _, user := range users {
		for _, stream := range w.registry.Streams(user) {
			if stream.UserID() != user {
				w.tb.Fatalf("a stream of %q among those of %q", stream.UserID(), user)
			}
			streams[stream.Metadata()["session"].(int)] = stream
		}
	}
	return streams
}
