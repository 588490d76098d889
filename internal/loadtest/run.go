package loadtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// run is one run of the load.
type run struct {
	cfg     Config
	begin   time.Time
	prefix  []byte // of marks
	address string // of the server
	streams []*stream
	tallies []*tally
	sender  *sender      // nil if nothing is sent
	reached atomic.Int64 // streams that have received cfg.Events events, or will not receive them
	own     ownLoad
}

// tallyCount is how many tallies the streams share, so that they seldom wait for each other.
const tallyCount = 16

// Run opens the streams, sends events if it is to, and returns what was found. It returns an error
// if no stream could be opened. When ctx ends, Run sends nothing more, and returns when what was sent
// has arrived.
func Run(ctx context.Context, cfg Config) (Result, error) {
	r := newRun(cfg)
	streamsCtx, closeStreams := context.WithCancel(context.WithoutCancel(ctx))
	var streams, others sync.WaitGroup
	defer others.Wait()
	ctx, stopOthers := context.WithCancel(ctx)
	defer stopOthers()
	others.Go(func() { r.watch(ctx) })

	opening, err := r.open(ctx, streamsCtx, &streams)
	defer streams.Wait()
	defer closeStreams()
	if err != nil {
		return Result{}, err
	}
	r.own.start()
	begin, before := time.Now(), r.sum().events
	r.load(ctx)
	loaded, events := time.Since(begin), r.sum().events-before
	r.settle(context.WithoutCancel(ctx)) // what is on its way is not missing
	result := r.result()
	r.own.end(&result.Tool)
	result.OpeningSeconds, result.Seconds = opening.Seconds(), loaded.Seconds()
	result.EventsPerSecond = float64(events) / max(result.Seconds, 0.001)
	return result, nil
}

func newRun(cfg Config) *run {
	r := &run{cfg: cfg, begin: time.Now(), prefix: markPrefix(rand.Uint64()), address: addressOf(cfg.URL)}
	for range tallyCount {
		r.tallies = append(r.tallies, newTally())
	}
	if r.cfg.Header == nil {
		r.cfg.Header = http.Header{}
	}
	sequences, byUser := 0, map[string]int{}
	if cfg.Send != nil {
		r.sender = newSender(r)
		sequences = len(r.sender.sources)
		for i, user := range r.sender.users {
			byUser[user] = i
		}
	}
	all := make([]stream, cfg.Streams)
	for i := range all {
		s := &all[i]
		s.run, s.tally, s.source = r, r.tallies[i%tallyCount], -1
		if len(cfg.Users) > 0 {
			s.user = cfg.Users[i%len(cfg.Users)]
		}
		s.block.retry = defaultReconnect
		if r.sender != nil {
			s.block.prefix = r.prefix
			s.sequences = make([]sequence, sequences)
			if r.sender.users != nil {
				s.source, s.sequences = byUser[s.user.Name], s.sequences[:1:1]
			}
		}
		r.streams = append(r.streams, s)
	}
	return r
}

// dial connects to the server.
func (r *run) dial(ctx context.Context) (net.Conn, error) {
	conn, err := r.cfg.Dial(ctx, "tcp", r.address)
	if err != nil || r.cfg.URL.Scheme != "https" {
		return conn, err
	}
	cfg := r.cfg.TLS.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	if cfg.ServerName == "" {
		cfg.ServerName = r.cfg.URL.Hostname()
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secure, nil
}

// open starts the streams, and waits until the first attempt of each has ended.
func (r *run) open(ctx, streamsCtx context.Context, streams *sync.WaitGroup) (took time.Duration, err error) {
	begin := time.Now()
	for i, s := range r.streams {
		if !sleepUntil(ctx, begin.Add(time.Duration(float64(i)/r.cfg.Rate*float64(time.Second)))) {
			return 0, context.Cause(ctx)
		}
		streams.Go(func() { s.live(streamsCtx) })
	}
	if !r.until(ctx, func() bool { return r.sum().settled == len(r.streams) }) {
		return 0, context.Cause(ctx)
	}
	t := r.sum()
	if t.opened == 0 {
		var kinds []string
		for kind, n := range t.errors {
			kinds = append(kinds, fmt.Sprintf("%d × %s", n, kind))
		}
		slices.Sort(kinds)
		return 0, fmt.Errorf("no stream could be opened: %s", strings.Join(kinds, ", "))
	}
	return time.Since(begin), nil
}

// until waits for a condition, which it checks often. It returns false if ctx ends before.
func (r *run) until(ctx context.Context, condition func() bool) bool {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// load sends, or only reads, until the run is to end.
func (r *run) load(ctx context.Context) {
	if r.cfg.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.cfg.For)
		defer cancel()
	}
	if r.sender != nil {
		for _, s := range r.streams {
			s.count(s.expect)
		}
		r.sender.send(ctx)
		return
	}
	r.until(ctx, func() bool {
		return r.cfg.Events > 0 && r.reached.Load() >= int64(r.sum().opened)
	})
}

// expect makes an open stream expect all events that are sent from now on. A stream that opens later
// expects what follows the first event that it receives.
func (s *stream) expect() {
	s.expects = s.isOpened
	for i := range s.sequences {
		s.sequences[i].begun = s.isOpened
	}
}

// settle waits for events on their way: until nothing is missing, or nothing has arrived for a while.
func (r *run) settle(ctx context.Context) {
	if r.sender == nil {
		return
	}
	last, quiet := 0, time.Now()
	r.until(ctx, func() bool {
		if arrived := r.sum().arrived; arrived != last {
			last, quiet = arrived, time.Now()
		}
		return time.Since(quiet) > r.cfg.Settle || r.missing() == 0
	})
}

// missing returns how many events have not arrived at streams that expect them.
func (r *run) missing() (n int) {
	for _, s := range r.streams {
		s.count(func() { n += s.missing() })
	}
	return n
}

// missing returns how many events of the stream have not arrived. A stream that was ended for good
// expects nothing more.
func (s *stream) missing() (n int) {
	for i := range s.sequences {
		q := &s.sequences[i]
		if !q.begun {
			continue
		}
		from := s.run.sender.sources[max(s.source, i)]
		sent := from.sent
		if s.isOver {
			sent = 0
		}
		n += q.missing(sent, from.unsureNumbers())
	}
	return n
}

// sum returns the sum of all tallies.
func (r *run) sum() *tally {
	total := newTally()
	for _, t := range r.tallies {
		total.add(t)
	}
	return total
}

// watch looks at the run once a second.
func (r *run) watch(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		r.own.tick()
		if r.cfg.Progress == nil {
			continue
		}
		t := r.sum()
		p := Progress{
			Elapsed: time.Since(r.begin), Open: t.open, Events: t.events,
			Reconnects: t.reconnects, Errors: sum(t.errors), Latency: t.latency.Histogram,
		}
		if r.sender != nil {
			p.Sent = int(r.sender.started.Load())
		}
		r.cfg.Progress(p)
	}
}
