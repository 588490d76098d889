package nodetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"
)

// database is what the application of [LiveTopics] stores: who is a member of which topic, and how
// many events a topic has. The nodes ask it over HTTP. It also has what the checker needs to know.
type database struct {
	url string

	mu     sync.Mutex // guards the fields below
	topics map[string]*topicRecord
	values map[string]int   // of each key, the last that was sent
	newest map[string]value // of each key, that was acknowledged
	faulty bool             // a node has a fault
	healed time.Time        // when the last fault ended
}

// topicRecord is a topic in the database.
type topicRecord struct {
	events     []publication // number n at n-1
	transients []transient
	members    map[string]*membership
}

// publication is an event that was sent to a topic.
type publication struct {
	began time.Time
	seq   uint64 // in the log; 0 unless it was acknowledged
}

// transient is a transient event that was sent to a topic.
type transient struct {
	began time.Time
	next  int // the number of the topic's next event
}

// value is a value of a key: a number that grows.
type value struct {
	n   int
	seq uint64 // in the log
}

// membership is the relation of a user to a topic.
type membership struct {
	granted bool // committed
	pending bool // committed, and not acknowledged by a node yet
	// stray is until when the requests run that may still reach the log, although their outcome is
	// unknown.
	stray time.Time

	events, transients []standing // number n at n-1
	changes            []change
}

// change is a grant or a revocation.
type change struct {
	granted             bool
	next                int // the number of the topic's next event
	began, acknowledged time.Time
}

func (c change) String() string {
	text := "revoked"
	if c.granted {
		text = "granted"
	}
	return fmt.Sprintf("%s before %d (%s to %s)", text, c.next, c.began.Format("05.000"), c.acknowledged.Format("05.000"))
}

// standing says whether a user may have an event.
type standing int

const (
	outside  standing = iota // it was sent when the user was no member
	inside                   // it was sent when the user was a member
	doubtful                 // the user may have it or not
)

// settling is how long a request may take effect after its deadline, and after the last fault.
const settling = 2 * time.Second

func newDatabase(t testing.TB, topics, users []string) *database {
	db := &database{topics: make(map[string]*topicRecord), values: make(map[string]int), newest: make(map[string]value)}
	for _, topic := range topics {
		db.topics[topic] = &topicRecord{members: make(map[string]*membership)}
		for _, user := range users {
			db.topics[topic].members[user] = new(membership)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/member", func(w http.ResponseWriter, r *http.Request) {
		answer := db.isMember(r.FormValue("topic"), r.FormValue("user"), r.FormValue("opening") != "")
		pause(60 * time.Millisecond) // what the node knows grows old
		_, _ = fmt.Fprint(w, answer)
	})
	mux.HandleFunc("/state", func(w http.ResponseWriter, r *http.Request) {
		pause(10 * time.Millisecond)
		answer := db.state(r.FormValue("topic"), r.FormValue("user"))
		pause(30 * time.Millisecond)
		_, _ = fmt.Fprint(w, answer)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	db.url = server.URL
	return db
}

// pause waits up to a time.
func pause(most time.Duration) { time.Sleep(rand.N(most)) }

// isMember answers a node, for a stream that opens or for an open one.
//
// While a grant is not acknowledged, a page that opens its stream with an old ID gets what was sent
// before the grant; see docs/topics.md.
func (db *database) isMember(topic, user string, opening bool) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	m := db.topics[topic].members[user]
	if m.granted && m.pending && opening {
		for _, list := range [][]standing{m.events, m.transients} {
			for i := len(list) - 1; i >= 0 && list[i] != inside; i-- {
				list[i] = doubtful
			}
		}
	}
	return m.granted
}

// state returns the state of a topic: its newest number, and whether the user may have it.
func (db *database) state(topic, user string) string {
	db.mu.Lock()
	defer db.mu.Unlock()
	who, m := "outsider", db.topics[topic].members[user]
	if m.granted || m.pending {
		who = "member"
	}
	return fmt.Sprint(topic, " ", len(db.topics[topic].events), " ", who)
}

// publish stores the next event of a topic and returns its number.
func (db *database) publish(topic string) (n int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	t := db.topics[topic]
	t.events = append(t.events, publication{began: time.Now()})
	for _, m := range t.members {
		m.events = append(m.events, m.standing())
	}
	return len(t.events)
}

func (m *membership) standing() standing {
	if m.granted {
		return inside
	}
	return outside
}

// transientStanding is standing for a transient event. The node that sends it may not have read the
// revocation yet, on a busy machine for a while; see docs/topics.md.
func (m *membership) transientStanding() standing {
	if n := len(m.changes); !m.granted && n > 0 && time.Since(m.changes[n-1].acknowledged) < time.Second {
		return doubtful
	}
	return m.standing()
}

// published notes what became of an event. One that was not acknowledged may be stored at any time.
func (db *database) published(topic string, n int, seq uint64, acknowledged bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	t := db.topics[topic]
	if acknowledged {
		t.events[n-1].seq = seq
		return
	}
	for _, m := range t.members {
		m.events[n-1] = doubtful
	}
}

// publishTransient is publish for a transient event.
func (db *database) publishTransient(topic string) (n int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	t := db.topics[topic]
	t.transients = append(t.transients, transient{time.Now(), len(t.events) + 1})
	for _, m := range t.members {
		m.transients = append(m.transients, m.transientStanding())
	}
	return len(t.transients)
}

// transientLost notes that a transient event was not acknowledged.
func (db *database) transientLost(topic string, n int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, m := range db.topics[topic].members {
		m.transients[n-1] = doubtful
	}
}

// commit changes memberships before a node is asked to. It reports false, and changes nothing, while
// an earlier request may still reach the log.
func (db *database) commit(topic string, granted bool, users ...string) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	members := db.topics[topic].members
	if slices.ContainsFunc(users, func(user string) bool { return db.isStrayLocked(members[user]) }) {
		return false
	}
	for _, user := range users {
		m := members[user]
		m.granted, m.pending = granted, true
		m.changes = append(m.changes, change{granted: granted, next: len(db.topics[topic].events) + 1, began: time.Now()})
	}
	return true
}

func (db *database) isStrayLocked(m *membership) bool {
	if m.stray.IsZero() {
		return false
	}
	return db.faulty || time.Since(m.stray) < settling || time.Since(db.healed) < settling
}

// acknowledge notes that a node has carried out what commit has begun. A request may be astray, up to
// a time.
func (db *database) acknowledge(topic string, stray time.Time, users ...string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, user := range users {
		m := db.topics[topic].members[user]
		m.pending, m.stray = false, stray
		m.changes[len(m.changes)-1].acknowledged = time.Now()
	}
}

func (db *database) setFaulty(faulty bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.faulty, db.healed = faulty, time.Now()
}

// acknowledged returns how many events were acknowledged.
func (db *database) acknowledged() (count int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, t := range db.topics {
		for _, e := range t.events {
			if e.seq > 0 {
				count++
			}
		}
	}
	return count
}

// truth returns a copy of what the database knows, for the checker.
func (db *database) truth() *truth {
	db.mu.Lock()
	defer db.mu.Unlock()
	tr := &truth{topics: make(map[string]*topicRecord), newest: maps.Clone(db.newest), stored: make(map[string][]int)}
	for topic, t := range db.topics {
		members := make(map[string]*membership)
		for user, m := range t.members {
			copied := *m
			copied.changes = slices.Clone(m.changes)
			copied.events, copied.transients = slices.Clone(m.events), slices.Clone(m.transients)
			members[user] = &copied
		}
		for i, e := range t.events {
			if e.seq > 0 {
				tr.stored[topic] = append(tr.stored[topic], i+1)
			}
		}
		tr.topics[topic] = &topicRecord{slices.Clone(t.events), slices.Clone(t.transients), members}
	}
	return tr
}

// truth is what the pages should know.
type truth struct {
	topics map[string]*topicRecord
	newest map[string]value
	stored map[string][]int // by topic, the numbers of the events that were acknowledged
}

// upTo returns the number of a topic's last event that the log has up to a sequence.
func (tr *truth) upTo(topic string, seq uint64) int {
	stored := tr.stored[topic]
	i := sort.Search(len(stored), func(i int) bool { return tr.topics[topic].events[stored[i]-1].seq > seq })
	if i == 0 {
		return 0
	}
	return stored[i-1]
}

// changesBefore returns the last changes of a membership before an event.
func (m *membership) changesBefore(n int) []change {
	i := 0
	for i < len(m.changes) && m.changes[i].next <= n {
		i++
	}
	return m.changes[max(0, i-4):i]
}
