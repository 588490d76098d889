package presence_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/internal/presence"
)

// reports records the changes that a node reports.
type reports struct {
	mu      sync.Mutex
	got     []string
	readers atomic.Bool
	asked   atomic.Int64 // calls of HasReaders
}

func (r *reports) option(cfg *presence.Config) {
	cfg.HasReaders = func(string) bool {
		r.asked.Add(1)
		return r.readers.Load()
	}
	cfg.Changed = func(c presence.Change) {
		r.mu.Lock()
		defer r.mu.Unlock()
		text := fmt.Sprint(c.Topic, " +", texts(c.Joined), " -", names(c.Left), " =", c.Count)
		if c.Whole {
			text = fmt.Sprint(c.Topic, " whole ", len(c.Present), " =", c.Count)
		}
		r.got = append(r.got, text)
	}
}

func names(members []presence.Member) (names []string) {
	for _, m := range members {
		names = append(names, m.User)
	}
	return names
}

// take returns the reports since the last call.
func (r *reports) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

func (r *reports) want(t *testing.T, want ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, want) {
		t.Errorf("reported\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Joins and leaves here and at other nodes are reported once each 0.1 s and topic.
func TestChangesOfATopicAreReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r reports
		r.readers.Store(true)
		m, nodes := startAll(t, "b")
		b, a := nodes[0], m.start(t, "a", r.option)
		synctest.Wait()
		a.JoinTopic("board", "bob", "1")
		a.JoinTopic("board", "alice", "2")
		a.JoinTopic("feed", "alice", "3")
		pass(100*time.Millisecond - 1)
		r.want(t)
		pass(1)
		r.want(t, "board +[alice:2 bob:1] -[] =2", "feed +[alice:3] -[] =1")
		b.JoinTopic("board", "carol", "4")
		b.JoinTopic("board", "alice", "2") // is there already
		pass(gathered)
		r.want(t, "board +[carol:4] -[] =3")
		b.JoinTopic("board", "carol", "5")
		pass(50 * time.Millisecond)
		a.LeaveTopic("board", "alice")
		a.LeaveTopic("board", "bob")
		pass(gathered)
		r.want(t, "board +[carol:5] -[bob] =2")
		b.LeaveTopic("board", "carol")
		b.LeaveTopic("board", "carol")
		b.LeaveTopic("board", "alice")
		pass(gathered)
		r.want(t, "board +[] -[alice carol] =0")
	})
}

// Who has come and gone within 0.1 s, or gone and come back, is no change.
func TestChangesThatCancelOutAreNotReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r reports
		r.readers.Store(true)
		tracker := alone(t, configOf(r.option))
		tracker.JoinTopic("board", "alice", "1")
		pass(gathered)
		r.want(t, "board +[alice:1] -[] =1")
		tracker.JoinTopic("board", "bob", "1")
		tracker.LeaveTopic("board", "alice")
		tracker.JoinTopic("board", "alice", "1")
		tracker.LeaveTopic("board", "bob")
		pass(gathered)
		r.want(t)
	})
}

// A reader that has seen a user who goes again within 0.1 s gets the change, and so does one that
// has seen that a user was gone.
func TestChangesThatCancelOutAreReportedToReadersBetweenThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r reports
		r.readers.Store(true)
		tracker := alone(t, configOf(r.option))
		tracker.JoinTopic("board", "alice", "1")
		tracker.JoinTopic("board", "carol", "1")
		pass(gathered)
		r.take()
		tracker.JoinTopic("board", "bob", "1")
		tracker.LeaveTopic("board", "alice")
		if members, _ := tracker.Watch("board"); !slices.Equal(texts(members), []string{"bob:1", "carol:1"}) {
			t.Errorf("the reader sees %v", members)
		}
		tracker.LeaveTopic("board", "bob")
		tracker.JoinTopic("board", "alice", "1")
		pass(gathered)
		r.want(t, "board +[alice:1] -[bob] =2")
		tracker.JoinTopic("board", "alice", "2")
		tracker.JoinTopic("board", "alice", "1")
		pass(gathered)
		r.want(t)
	})
}

func configOf(option func(*presence.Config)) (cfg presence.Config) {
	option(&cfg)
	return cfg
}

// A topic without readers costs one question, until Watch is called for it.
func TestTopicsWithoutReadersAreNotReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r reports
		tracker := alone(t, configOf(r.option))
		for n := range 20 {
			tracker.JoinTopic("board", fmt.Sprint("user", n), "1")
			pass(gathered)
		}
		r.want(t)
		if n := r.asked.Load(); n != 1 {
			t.Errorf("HasReaders was called %d times", n)
		}
		r.readers.Store(true)
		members, count := tracker.Watch("board")
		if len(members) != 20 || count != 20 || members[0].User != "user0" {
			t.Errorf("%d members: %v", count, members)
		}
		tracker.JoinTopic("board", "alice", "1")
		pass(gathered)
		r.want(t, "board +[alice:1] -[] =21")
		r.readers.Store(false)
		tracker.LeaveTopic("board", "alice")
		pass(gathered)
		tracker.LeaveTopic("board", "user0")
		pass(gathered)
		r.want(t)
	})
}

// A reader that comes while the tracker asks for readers gets all changes from then on.
func TestReaderThatComesDuringAReportMissesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r reports
		cfg := configOf(r.option)
		var tracker *presence.Tracker
		asked := false
		cfg.HasReaders = func(string) bool {
			if !asked { // it has just answered when the reader comes
				asked = true
				if members, _ := tracker.Watch("board"); len(members) != 1 {
					t.Errorf("the reader sees %v", members)
				}
				tracker.JoinTopic("board", "bob", "1")
				return false
			}
			return true
		}
		tracker = alone(t, cfg)
		tracker.JoinTopic("board", "alice", "1")
		pass(gathered)
		tracker.JoinTopic("board", "carol", "1")
		pass(gathered)
		r.want(t, "board +[alice:1 bob:1] -[] =2", "board +[carol:1] -[] =3")
	})
}

// From 100 members on, a topic is reported as a whole every 5 s, and once more when it has fewer.
func TestCrowdIsReportedAsAWholeEvery5Seconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r reports
		r.readers.Store(true)
		tracker := alone(t, configOf(r.option))
		join := func(from, to int) {
			for n := from; n < to; n++ {
				tracker.JoinTopic("board", fmt.Sprint("user", n), "1")
			}
		}
		join(0, 99)
		pass(gathered)
		if got := r.take(); len(got) != 1 || !strings.HasSuffix(got[0], "=99") || strings.Contains(got[0], "whole") {
			t.Errorf("99 users are reported as %q", got)
		}
		pass(time.Minute)
		join(99, 200)
		pass(gathered)
		r.want(t, "board whole 100 =200")
		for n := range 50 { // 5 s
			join(200+n, 201+n)
			pass(100 * time.Millisecond)
		}
		r.want(t, "board whole 100 =249")
		pass(10 * time.Second)
		r.want(t, "board whole 100 =250")
		for n := range 200 {
			tracker.LeaveTopic("board", fmt.Sprint("user", n))
		}
		pass(gathered)
		r.want(t, "board whole 50 =50")
		tracker.LeaveTopic("board", "user200")
		pass(gathered)
		r.want(t, "board +[] -[user200] =49")
	})
}

// More users than a crowd come and go at a small topic.
func TestManyChangesOfASmallTopicAreReportedAsAWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r reports
		r.readers.Store(true)
		tracker := alone(t, configOf(r.option))
		tracker.JoinTopic("board", "alice", "1")
		pass(gathered)
		r.take()
		for n := range 1000 {
			tracker.JoinTopic("board", fmt.Sprint("user", n), "1")
			tracker.LeaveTopic("board", fmt.Sprint("user", n))
		}
		pass(gathered)
		r.want(t, "board whole 1 =1")
	})
}

// A report that takes long delays no join, and the changes meanwhile are reported after it.
func TestReportsOfATopicAreInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r reports
		r.readers.Store(true)
		cfg := configOf(r.option)
		changed := cfg.Changed
		cfg.Changed = func(c presence.Change) {
			time.Sleep(time.Second)
			changed(c)
		}
		tracker := alone(t, cfg)
		tracker.JoinTopic("board", "alice", "1")
		pass(gathered)
		if !tracker.Unlocked() {
			t.Fatal("the lock is held during a report")
		}
		tracker.LeaveTopic("board", "alice")
		pass(gathered)
		tracker.JoinTopic("board", "bob", "1")
		pass(5 * time.Second)
		r.want(t, "board +[alice:1] -[] =1", "board +[bob:1] -[alice] =1")
	})
}
