package debug

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// view is what the page shows: all nodes together.
type view struct {
	Now      time.Time  `json:"now"`
	Problems []string   `json:"problems"`
	Nodes    []nodeView `json:"nodes"` // that of this page first

	Streams int    `json:"streams"`
	Compact int    `json:"compact"`
	Users   int    `json:"users"`
	Runs    int    `json:"runs"`
	Head    uint64 `json:"head"`
	Lag     lag    `json:"lag"`

	Delivery quantiles `json:"delivery"`
	Appends  quantiles `json:"appends"`
	Series   series    `json:"series"`

	Ends     []named `json:"ends"` // since the start of each node, the most frequent first
	Refusals []named `json:"refusals"`
	Gaps     []named `json:"gaps"`
	Resumes  []named `json:"resumes"`

	Rows    []row   `json:"rows"`
	Entries []entry `json:"entries"` // the newest first
}

type nodeView struct {
	Node     string    `json:"node"`
	Name     string    `json:"name"`
	Started  time.Time `json:"started"`
	Streams  int       `json:"streams"`
	Users    int       `json:"users"`
	Opened   uint64    `json:"opened"`
	Head     uint64    `json:"head"`
	Slowest  int64     `json:"slowest"`
	LogError string    `json:"log_error,omitempty"`
	LogSince time.Time `json:"log_since,omitzero"`

	Log *eventlog.Stats `json:"log,omitempty"` // nil if the log has no figures

	headAt time.Time     // see report
	p99    time.Duration // of deliveries in the last minute
	failed uint64        // events that were not sent
}

// quantiles are of the last minute, in microseconds.
type quantiles struct {
	Count uint64 `json:"count"`
	P50   int64  `json:"p50"`
	P99   int64  `json:"p99"`
}

type named struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

// row is a stream.
type row struct {
	ginsse.StreamInfo

	Node string `json:"node"` // its name
	More int    `json:"more"` // topics that are left out
}

const (
	maxNodeRows  = 200
	maxRowTopics = 8
	// headSlack is how far the head of a node may be from that of another while events come in.
	headSlack = 1000
	// inboxSlack is how many committed events may wait for their place in the log: a step takes 4,000.
	inboxSlack = 4000
	// stuckInbox is how long the head of the log may stand still while events wait in the inbox.
	stuckInbox = 10 * time.Second
	// lateDelivery is a delay that is a problem.
	lateDelivery = time.Second
)

// newView adds up the answers of the nodes.
func newView(answers []ginsse.NodeAnswer, now time.Time) *view {
	v := &view{Now: now, Problems: []string{}, Nodes: []nodeView{}, Rows: []row{}, Entries: []entry{}}
	ends, refusals, gaps, resumes := make(counts), make(counts), make(counts), make(counts)
	delivery, appends, lasted, sum := make(delays), make(delays), make(delays), minute{}
	for i, answer := range answers {
		r := readReport(answer.Data)
		if r == nil {
			v.unknown(answer.Node, i == 0)
			continue
		}
		own := make(delays) // without what is no delay
		own.add(r.Delivery)
		v.addNode(answer.Node, r, own.quantile(0.99))
		for _, add := range []struct{ to, from counts }{{ends, r.Ends}, {refusals, r.Refusals}, {gaps, r.Gaps}, {resumes, r.Resumes}} {
			for name, n := range add.from {
				add.to.add(name, n)
			}
		}
		delivery.add(own)
		appends.add(r.Appends)
		lasted.add(r.Lasted)
		sum.add(r.Minute)
	}
	v.Ends, v.Refusals, v.Gaps, v.Resumes = ends.list(), refusals.list(), gaps.list(), resumes.list()
	v.Delivery, v.Appends = delivery.quantiles(), appends.quantiles()
	slices.SortStableFunc(v.Entries, func(a, b entry) int { return b.At.Compare(a.At) })
	v.Entries = v.Entries[:min(len(v.Entries), maxShown)]
	v.findProblems(sum, lasted)
	return v
}

func (v *view) problemf(format string, args ...any) {
	v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
}

// unknown adds a node that says nothing of itself.
func (v *view) unknown(node string, own bool) {
	if own {
		v.problemf("This node has no figures: put page.Observer() into RegistryConfig.Observers.")
		return
	}
	v.problemf("Node %s has no figures: the page is not mounted there, or in another version.", nodeName("", node))
	if len(v.Nodes) < maxNodeRows {
		v.Nodes = append(v.Nodes, nodeView{Node: node, Name: nodeName("", node)})
	}
}

func (v *view) addNode(node string, r *report, p99 time.Duration) {
	name := nodeName(r.Name, node)
	v.Streams += r.Stats.Streams
	v.Compact += r.Stats.Compact
	v.Runs += r.Stats.Runs
	v.Users = max(v.Users, r.Stats.Cluster.Users)
	v.Head = max(v.Head, r.Stats.Head)
	v.Lag.Slowest = max(v.Lag.Slowest, r.Lag.Slowest)
	v.Lag.Over100 += r.Lag.Over100
	v.Lag.Over1k += r.Lag.Over1k
	v.Series.add(r.Series)
	if len(v.Nodes) < maxNodeRows {
		v.Nodes = append(v.Nodes, nodeView{
			Node: node, Name: name, Started: r.Started, Streams: r.Stats.Streams, Users: r.Stats.Users, Opened: r.Stats.Opened,
			Head: r.Stats.Head, Slowest: r.Lag.Slowest, LogError: r.LogError, LogSince: r.LogSince,
			Log: r.Stats.Log, headAt: r.HeadAt, p99: p99, failed: r.Minute.Failed,
		})
	}
	for _, e := range r.Entries {
		e.Node = name
		v.Entries = append(v.Entries, e)
	}
}

// findProblems says in words what an operator should look at.
func (v *view) findProblems(sum minute, lasted delays) {
	waiting, moved := 0, time.Time{} // the inbox and the head, which all nodes share
	for _, n := range v.Nodes {
		switch {
		case n.LogError != "":
			v.problemf("The log has not served node %s for %s: %s", n.Name, short(max(0, v.Now.Sub(n.LogSince))), n.LogError)
		case v.Head-n.Head > headSlack && !n.Started.IsZero():
			v.problemf("Node %s is %s entries of the log behind another node.", n.Name, group(v.Head-n.Head))
		case n.Log != nil && n.Log.Store != nil && n.Log.Store.Behind > headSlack:
			v.problemf("Node %s is up to %s events behind the store of the log.", n.Name, group(n.Log.Store.Behind))
		}
		if n.Log != nil && n.Log.Store != nil {
			waiting = max(waiting, n.Log.Store.Inbox)
		}
		if n.headAt.After(moved) {
			moved = n.headAt
		}
	}
	switch still := v.Now.Sub(moved); {
	case waiting > 0 && !moved.IsZero() && still > stuckInbox: // nodes of an older version do not say it
		v.problemf("Events that transactions have committed are not delivered: %s or more wait in the inbox, and none has got its place in the log for %s.", group(uint64(waiting)), short(still))
	case waiting > inboxSlack:
		v.problemf("Events that transactions have committed wait in the inbox: %s or more.", group(uint64(waiting)))
	}
	if sum.Failed > 0 {
		v.problemf("Events were not sent in the last minute: %s, %s. The last error: %s", group(sum.Failed), v.namesOf(func(n *nodeView) bool { return n.failed > 0 }), sum.Failure)
	}
	if v.Lag.Over100 > 0 {
		v.problemf("Streams that are more than 100 events behind: %s. The slowest is %s behind.", group(uint64(v.Lag.Over100)), group(uint64(v.Lag.Slowest)))
	}
	slowest := time.Duration(0)
	for _, n := range v.Nodes {
		slowest = max(slowest, n.p99)
	}
	if slowest > lateDelivery {
		v.problemf("Deliveries are late %s: in the last minute, 1 of 100 took longer than %s.",
			v.namesOf(func(n *nodeView) bool { return n.p99 > lateDelivery }), short(slowest))
	}
	if sum.Returned*5 > uint64(max(v.Streams, 50)) {
		v.problemf("Clients came back %s times in the last minute, to %s.%s After a deploy that is soon over; otherwise something cuts streams, such as a proxy that waits for less than the time between heartbeats.",
			group(sum.Returned), streams(v.Streams), halfLasted(lasted))
	}
	if sum.Refused > 0 {
		v.problemf("Streams were refused in the last minute: %s. See below: Refused, by cause.", group(sum.Refused))
	}
	if sum.Gaps > 0 {
		v.problemf("Gaps that clients were told of in the last minute: %s. See below: Gaps, by reason.", group(sum.Gaps))
	}
}

// halfLasted says how long half of the streams that ended had lasted. It is "" if none has: a node that is
// gone does not say what has ended there.
func halfLasted(lasted delays) string {
	switch half := lasted.quantile(0.5); half {
	case 0:
		return ""
	case bucketEnd(bucketCount - 1): // it has no end
		return " Half of the streams that ended had lasted for hours."
	default:
		return fmt.Sprintf(" Half of the streams that ended had lasted less than %s.", short(half))
	}
}

// namesOf names the nodes for which is reports true, as far as they are listed.
func (v *view) namesOf(is func(n *nodeView) bool) string {
	const most = 3
	var names []string
	for i := range v.Nodes {
		if is(&v.Nodes[i]) {
			names = append(names, v.Nodes[i].Name)
		}
	}
	switch more := len(names) - most; {
	case len(names) == 0:
		return "at nodes that are not listed"
	case more > 0:
		return fmt.Sprintf("at %s and %d other nodes", strings.Join(names[:most], ", "), more)
	case len(names) == 1:
		return "at node " + names[0]
	default:
		return "at nodes " + strings.Join(names, ", ")
	}
}

// addStreams adds the list of streams, or says why there is none.
func (v *view) addStreams(list []ginsse.StreamInfo, err error) {
	if errors.Is(err, ginsse.ErrInvalidSubject) {
		v.problemf("No user and no topic can have the name in the filter.")
	}
	names := make(map[string]string)
	for _, n := range v.Nodes {
		names[n.Node] = n.Name
	}
	for _, s := range list {
		r := row{StreamInfo: s, Node: cmp.Or(names[s.Node], nodeName("", s.Node))}
		if more := len(s.Topics) - maxRowTopics; more > 0 {
			r.Topics, r.More = s.Topics[:maxRowTopics], more
		}
		v.Rows = append(v.Rows, r)
	}
}

// group writes a number with commas.
func group(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// nodeName names a node for people: several may run on one host.
func nodeName(name, node string) string {
	const enough = 4
	if len(node) > enough {
		node = node[:enough]
	}
	switch {
	case name == "":
		return cmp.Or(node, "this node")
	case node == "":
		return name
	}
	return name + " · " + node
}

func (m *minute) add(other minute) {
	m.Returned += other.Returned
	m.Refused += other.Refused
	m.Gaps += other.Gaps
	m.Failed += other.Failed
	m.Failure = cmp.Or(m.Failure, other.Failure)
}

// add adds the values of another node, or takes the larger of two delays.
func (s *series) add(other series) {
	plus := func(a, b uint64) uint64 { return a + b }
	larger := func(a, b uint64) uint64 { return max(a, b) }
	s.Opened = merge(s.Opened, other.Opened, plus)
	s.Ended = merge(s.Ended, other.Ended, plus)
	s.Sent = merge(s.Sent, other.Sent, plus)
	s.Delivered = merge(s.Delivered, other.Delivered, plus)
	s.Delay = merge(s.Delay, other.Delay, larger)
}

func merge(a, b []uint64, fn func(a, b uint64) uint64) []uint64 {
	if a == nil {
		a = make([]uint64, windowSeconds)
	}
	for i := range min(len(a), len(b)) {
		a[i] = fn(a[i], b[i])
	}
	return a
}

// list returns the counts, the largest first.
func (c counts) list() []named {
	list := make([]named, 0, len(c))
	for name, n := range c {
		list = append(list, named{name, n})
	}
	slices.SortFunc(list, func(a, b named) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
	return list
}

func (d delays) quantiles() quantiles {
	return quantiles{d.total(), d.quantile(0.50).Microseconds(), d.quantile(0.99).Microseconds()}
}
