package nodetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is trouble that a node has for a while. It calls await, which waits for events of the other
// nodes, while the node has the fault. When it returns, the node serves again.
type Fault func(t testing.TB, f *Fleet, node int, await func())

// Kill is the [Fault] of a node that is killed and started again.
func Kill(t testing.TB, f *Fleet, node int, await func()) {
	f.Kill(t, node)
	await()
	f.Start(t, node)
}

// noticed is after how long the balancer leaves out a node that does not answer. Until then, requests
// go astray.
const noticed = 300 * time.Millisecond

// Cut returns the [Fault] of a node that is cut off from the log's server, for some time at least.
func Cut(least time.Duration) Fault {
	return func(_ testing.TB, f *Fleet, node int, await func()) {
		p := f.cfg.Proxies[node]
		p.Stall(true)
		began := time.Now()
		time.Sleep(noticed)
		f.SetOut(node, true)
		await()
		time.Sleep(least - time.Since(began)) // nothing tells that a node has lost contact
		p.DropAll()
		p.Stall(false)
		f.SetOut(node, false)
	}
}

// LiveTopics has nodes change the topics of open streams while one node after the other has a fault.
// A round is one fault. With -short the test is skipped.
//
// A writer for each topic publishes numbered events, and grants and revokes the topic, by requests to
// changing nodes. It commits to a database first, which the nodes ask whether a user may read a topic.
// Pages follow the topics at all nodes: some go from node to node, read slowly, or have states. In the
// end, no page may have received an event that was sent when its user was no member; each event that
// was sent when the user was one was received, or is covered by a state or a gap; and all pages know
// who is present.
func LiveTopics(t testing.TB, f *Fleet, fault Fault, rounds, events int) {
	if testing.Short() {
		t.Skip("takes long")
	}
	l := newLiveTopics(t, f)
	l.await(t, events)
	for i := range rounds {
		l.db.setFaulty(true)
		fault(t, f, i%Nodes, func() { l.await(t, events) })
		l.db.setFaulty(false)
		l.await(t, events)
	}
	l.verify(t)
}

// liveTopics is a run of [LiveTopics].
type liveTopics struct {
	fleet *Fleet
	db    *database
	http  *http.Client
	pages []*page
	stop  func() // the writers and what pages ask for
}

var (
	liveUsers = []string{alice, bob, carol, dave}
	liveNames = []string{lobby, "y", "z"}
)

// lobby is a topic of which dave is always a member, so that the others see him leave.
const lobby = "x"

func newLiveTopics(t testing.TB, f *Fleet) *liveTopics {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	l := &liveTopics{
		fleet: f,
		db:    newDatabase(t, liveNames, liveUsers),
		http:  &http.Client{Transport: transport, Timeout: time.Second},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writing, reading sync.WaitGroup
	over := make(chan struct{})
	l.stop = sync.OnceFunc(func() {
		close(over)
		writing.Wait()
	})
	t.Cleanup(transport.CloseIdleConnections)
	t.Cleanup(func() {
		cancel()
		l.stop()
		reading.Wait()
	})
	for _, topic := range liveNames {
		for _, user := range liveUsers {
			l.change(ctx, topic, true, user)
		}
	}
	l.pages = []*page{
		{user: alice, node: 0}, {user: bob, node: 0, state: true}, {user: dave, node: 0, once: true},
		{user: carol, node: 1}, {user: alice, node: 1, state: true, slow: true},
		{user: bob, node: 2, slow: true}, {user: carol, node: 2, state: true},
		{user: alice, node: Roaming, state: true}, {user: bob, node: Roaming}, {user: carol, node: Roaming, state: true, slow: true},
	}
	for _, p := range l.pages {
		p.open(l)
		reading.Go(func() { p.run(ctx) })
		Until(t, fmt.Sprint("a stream for ", p), func() bool { return p.streamID() != "" })
	}
	repeat := func(most time.Duration, fn func()) {
		writing.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(rand.N(most)):
					fn()
				}
			}
		})
	}
	for _, topic := range liveNames {
		repeat(12*time.Millisecond, func() { l.write(ctx, topic) })
	}
	for _, p := range l.pages {
		repeat(400*time.Millisecond, func() { p.ask(ctx) })
	}
	return l
}

// write does one thing at random to a topic, of which it is the only writer.
func (l *liveTopics) write(ctx context.Context, topic string) {
	user := liveUsers[rand.IntN(len(liveUsers))]
	switch n := rand.IntN(100); {
	case n < 80:
		l.publish(ctx, topic)
	case n < 84:
		l.publishTransient(ctx, topic)
	case n < 86:
		l.replace(ctx, topic)
	case n < 92:
		l.change(ctx, topic, true, user)
	case n < 98:
		if topic != lobby || user != dave {
			l.change(ctx, topic, false, user)
		}
	case n < 99:
		if topic != lobby {
			l.change(ctx, topic, false, liveUsers...)
		}
	default:
		for _, user := range liveUsers {
			l.change(ctx, topic, true, user)
		}
	}
}

// publish sends the next event of a topic, and reports whether a node has acknowledged it.
func (l *liveTopics) publish(ctx context.Context, topic string) (acknowledged bool) {
	n := l.db.publish(topic)
	data := fmt.Sprint(topic, " ", n, " ", strings.Repeat("-", rand.IntN(2000)))
	id, _, err := l.post(ctx, "/send/topic:"+topic+"?type=t&n="+url.QueryEscape(data))
	l.db.published(topic, n, sequence(id), err == nil)
	return err == nil
}

// publishTransient sends the next transient event of a topic.
func (l *liveTopics) publishTransient(ctx context.Context, topic string) {
	n := l.db.publishTransient(topic)
	_, _, err := l.post(ctx, "/send/topic:"+topic+"?transient=true&type=v&n="+url.QueryEscape(fmt.Sprint(topic, " ", n)))
	if err != nil {
		l.db.transientLost(topic, n)
	}
}

// replace sends the next value of a key that is named as a topic, to all users.
func (l *liveTopics) replace(ctx context.Context, key string) (acknowledged bool) {
	l.db.mu.Lock()
	n := l.db.values[key] + 1
	l.db.values[key] = n
	l.db.mu.Unlock()
	id, _, err := l.post(ctx, "/send/all?type=k&key="+key+"&n="+url.QueryEscape(fmt.Sprint(key, " ", n)))
	if err == nil {
		l.db.mu.Lock()
		defer l.db.mu.Unlock()
		l.db.newest[key] = value{n, sequence(id)}
	}
	return err == nil
}

// change grants a topic to users, or takes it away from them. It repeats the request until a node
// acknowledges it. More than one user are all users.
func (l *liveTopics) change(ctx context.Context, topic string, granted bool, users ...string) {
	if !l.db.commit(topic, granted, users...) {
		return
	}
	path := "/revoke/" + topic
	if granted {
		path = "/grant/" + topic
	}
	if len(users) == 1 {
		path += "/" + users[0]
	}
	var stray time.Time
	for ctx.Err() == nil {
		_, reached, err := l.post(ctx, path)
		if err == nil {
			break
		}
		if reached {
			stray = time.Now().Add(l.http.Timeout)
		}
		pause(20 * time.Millisecond)
	}
	l.db.acknowledge(topic, stray, users...)
}

// post sends a request to the next node. reached says that it may have come there.
func (l *liveTopics) post(ctx context.Context, path string) (body string, reached bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.fleet.URL(Roaming)+path, http.NoBody)
	if err != nil {
		return "", false, err
	}
	request.Header.Set(deadlineHeader, strconv.FormatInt(time.Now().Add(l.http.Timeout).UnixMilli(), 10))
	body, err = do(l.http, request)
	dial := (*net.OpError)(nil)
	return body, !errors.As(err, &dial) || dial.Op != "dial", err
}

// await waits until so many more events were acknowledged.
func (l *liveTopics) await(t testing.TB, more int) {
	t.Helper()
	had := l.db.acknowledged()
	Until(t, fmt.Sprint(more, " events"), func() bool { return l.db.acknowledged() >= had+more })
}

// Times after which others must not see a user any more, and all pages must know who is present.
const (
	lostUser  = 25 * time.Second
	agreement = 30 * time.Second
)

// verify stops the writers and waits until all pages know the truth. Then it checks what they have
// received meanwhile.
func (l *liveTopics) verify(t testing.TB) {
	t.Helper()
	began := time.Now()
	l.stop()
	for _, p := range l.pages {
		p.settle()
	}
	for _, topic := range liveNames {
		Until(t, "the last event of "+topic, func() bool { return l.publish(t.Context(), topic) })
		Until(t, "the last value of "+topic, func() bool { return l.replace(t.Context(), topic) })
	}
	for _, p := range l.pages {
		if p.state && p.node == Roaming {
			p.reload() // it gets all states, and the newest values
		}
	}
	tr := l.db.truth()
	var wrong []string
	for len(wrong) > 0 || wrong == nil {
		if wrong = append([]string{}, l.unsettled(tr)...); len(wrong) == 0 {
			break
		}
		if time.Since(began) > agreement {
			t.Errorf("%v after the last fault:\n%s", agreement, strings.Join(wrong, "\n"))
			break
		}
		time.Sleep(50 * time.Millisecond) // a poll
	}
	t.Logf("all pages know the truth after %v", time.Since(began).Round(time.Millisecond))
	for _, p := range l.pages {
		l.judge(t, p, tr)
	}
}

// unsettled returns what pages do not know yet.
func (l *liveTopics) unsettled(tr *truth) (wrong []string) {
	states := make(map[*page]*replay)
	present := make(map[string]map[string]bool) // by topic and user
	for _, topic := range liveNames {
		present[topic] = make(map[string]bool)
	}
	for _, p := range l.pages {
		if _, ended := p.end(); ended {
			continue
		}
		states[p] = p.replay(tr)
		for topic := range states[p].reading {
			present[topic][p.user] = true
		}
	}
	for p, r := range states {
		for _, topic := range liveNames {
			t := tr.topics[topic]
			granted := t.members[p.user].granted
			have, known := r.have[topic]
			switch {
			case r.reading[topic] != granted:
				wrong = append(wrong, fmt.Sprintf("%v: reads %s is %v, and granted is %v", p, topic, !granted, granted))
			case granted && (!known || have < len(t.events)):
				wrong = append(wrong, fmt.Sprintf("%v: has %d events of %s of %d", p, have, topic, len(t.events)))
			}
			if granted && !maps.Equal(present[topic], r.presentAt(topic)) {
				wrong = append(wrong, fmt.Sprintf("%v: at %s are %v, and it knows %v", p, topic,
					slices.Sorted(maps.Keys(present[topic])), slices.Sorted(maps.Keys(r.presentAt(topic)))))
			}
			newest := tr.newest[topic]
			if has := r.values[topic]; has != newest.n && (p.state || newest.seq > r.since) {
				wrong = append(wrong, fmt.Sprintf("%v: value of %s is %d, want %d", p, topic, has, newest.n))
			}
		}
	}
	return wrong
}

// judge fails for what a page has wrongly received, or not received.
func (l *liveTopics) judge(t testing.TB, p *page, tr *truth) {
	t.Helper()
	r := p.replay(tr)
	for _, other := range l.pages {
		ended, over := other.end()
		if gone, was := r.gone[other.user]; over && was && !p.slow && gone.Sub(ended) > lostUser {
			r.faultf("%s was present for %v after the end", other.user, gone.Sub(ended))
		}
	}
	for _, text := range r.faults[:min(len(r.faults), 6)] {
		t.Errorf("%v: %s", p, text)
	}
	if len(r.faults) > 6 {
		t.Errorf("%v: and %d more", p, len(r.faults)-6)
	}
	if r.events == 0 {
		t.Errorf("%v has received no event", p)
	}
	t.Logf("%v: %d events, %d transient, on %d streams, %d of which resumed; %d gaps, %d states, %d changes", p,
		r.events, r.transients, r.streams, r.resumed, r.gaps, r.states, r.changes)
}
