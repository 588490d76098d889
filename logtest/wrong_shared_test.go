package logtest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// wrongNode is a node with methods put in front of another's; nil leaves the other's.
type wrongNode struct {
	*ssetest.Node

	read    func(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error)
	post    func(to string, message []byte) error
	receive func(name string, fn func(message []byte)) (stop func())
}

func (w *wrongNode) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if w.read != nil {
		return w.read(ctx, q, dst)
	}
	return w.Node.Read(ctx, q, dst)
}

func (w *wrongNode) Post(to string, message []byte) error {
	if w.post != nil {
		return w.post(to, message)
	}
	return w.Node.Post(to, message)
}

func (w *wrongNode) Receive(name string, fn func(message []byte)) (stop func()) {
	if w.receive != nil {
		return w.receive(name, fn)
	}
	return w.Node.Receive(name, fn)
}

// The wrong ways to post, in front of a right node.

// postingBy tests nodes with a Post in front of their own.
func postingBy(post func(n *ssetest.Node, peer bool, to string, message []byte) error) Suite {
	return meshSuite(func(n *ssetest.Node, peer bool) ginsse.Log {
		return &wrongNode{Node: n, post: func(to string, message []byte) error { return post(n, peer, to, message) }}
	})
}

// changing tests nodes that change what a message is, or whom it is for.
func changing(to func(string) string, message func([]byte) []byte) Suite {
	return postingBy(func(n *ssetest.Node, _ bool, name string, text []byte) error {
		if to != nil {
			name = to(name)
		}
		if message != nil {
			text = message(text)
		}
		return n.Post(name, text)
	})
}

func toAll(string) string { return "" }

func untilZero(message []byte) []byte {
	text, _, _ := bytes.Cut(message, []byte{0})
	return text
}

func validText(message []byte) []byte { return bytes.ToValidUTF8(message, []byte("\ufffd")) }

func at32KiB(message []byte) []byte { return message[:min(len(message), 32<<10)] }

func peerIsMute(n *ssetest.Node, peer bool, to string, message []byte) error {
	if peer {
		return nil
	}
	return n.Post(to, message)
}

func toOneAtMost(n *ssetest.Node, _ bool, to string, message []byte) error {
	if to == "" {
		return nil
	}
	return n.Post(to, message)
}

func toNobodyByName(n *ssetest.Node, _ bool, to string, message []byte) error {
	if to != "" {
		return nil
	}
	return n.Post(to, message)
}

// largeRefused is over the bound of a log that puts something before each message.
func largeRefused(n *ssetest.Node, _ bool, to string, message []byte) error {
	if len(message) >= 64<<10 {
		return errors.New("the message is too large")
	}
	return n.Post(to, message)
}

// messageKept sends a message with the next one.
func messageKept() Suite {
	var mu sync.Mutex
	kept := make(map[*ssetest.Node][]byte)
	return postingBy(func(n *ssetest.Node, _ bool, to string, message []byte) error {
		mu.Lock()
		last := kept[n]
		kept[n] = message
		mu.Unlock()
		if to == "" && last != nil {
			_ = n.Post("", last)
		}
		return n.Post(to, message)
	})
}

// The wrong ways to receive, in front of a right node.

func receiving(receive func(n *ssetest.Node, name string, fn func([]byte)) func()) func() Suite {
	return func() Suite {
		return meshSuite(func(n *ssetest.Node, _ bool) ginsse.Log {
			return &wrongNode{Node: n, receive: func(name string, fn func([]byte)) func() { return receive(n, name, fn) }}
		})
	}
}

func receivesForLowerCase(n *ssetest.Node, name string, fn func([]byte)) func() {
	return n.Receive(strings.ToLower(name), fn)
}

func receivesForAFewLetters(n *ssetest.Node, name string, fn func([]byte)) func() {
	return n.Receive(name[:min(len(name), 31)], fn)
}

func receivesUntilEver(n *ssetest.Node, name string, fn func([]byte)) func() {
	_ = n.Receive(name, fn)
	return func() {}
}

func receivesUntilStoppedOnce(n *ssetest.Node, name string, fn func([]byte)) func() {
	stop, stopped := n.Receive(name, fn), make(chan struct{})
	return func() {
		close(stopped)
		stop()
	}
}

// messagesShared gives all receivers of a node the same memory.
func messagesShared() Suite {
	type hub struct {
		fns  map[*func([]byte)]string
		stop func()
	}
	var mu sync.Mutex
	hubs := make(map[*ssetest.Node]*hub)
	return receiving(func(n *ssetest.Node, name string, fn func([]byte)) func() {
		mu.Lock()
		defer mu.Unlock()
		h := hubs[n]
		if h == nil {
			h = &hub{fns: make(map[*func([]byte)]string)}
			hubs[n] = h
			h.stop = n.Receive("hub", func(message []byte) {
				mu.Lock()
				defer mu.Unlock()
				for fn := range h.fns {
					(*fn)(message)
				}
			})
		}
		h.fns[&fn] = name
		return func() {
			mu.Lock()
			defer mu.Unlock()
			delete(h.fns, &fn)
		}
	})()
}

// stopByName stops all who receive under the name.
func stopByName() Suite {
	type key struct {
		node *ssetest.Node
		name string
	}
	var mu sync.Mutex
	stops := make(map[key][]func())
	return receiving(func(n *ssetest.Node, name string, fn func([]byte)) func() {
		mu.Lock()
		defer mu.Unlock()
		k := key{n, name}
		stops[k] = append(stops[k], n.Receive(name, fn))
		return func() {
			mu.Lock()
			defer mu.Unlock()
			for _, stop := range stops[k] {
				stop()
			}
		}
	})()
}

// The wrong ways to be away.

// awayIsAGap says that nothing is there any more.
func awayIsAGap() Suite {
	return meshSuite(func(n *ssetest.Node, _ bool) ginsse.Log {
		return &wrongNode{Node: n, read: func(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
			if _, err := n.Read(ctx, ginsse.Query{}, nil); errors.Is(err, ssetest.ErrAway) && !q.After.IsZero() {
				return ginsse.Page{Blocks: dst, Through: q.After, Gap: ginsse.GapEpoch}, nil
			}
			return n.Read(ctx, q, dst)
		}}
	})
}

// sharedMutants are what the tests of several nodes are there for.
func sharedMutants() []wrongLog {
	faulty := func(f fault) Suite { return storeSuite(storeConfig{fault: f}) }
	const (
		share, keep, resume       = "registries_share_their_events", "registries_keep_events_for_who_is_away", "streams_resume_at_the_other_registry_under_fire"
		reach, unchanged, owned   = "messages_reach_those_they_are_for", "messages_arrive_unchanged", "messages_are_the_receivers"
		stop, disconnect, online  = "messages_come_until_stop", "disconnect_reaches_all_registries", "registries_agree_on_who_is_online"
		restart, stay, afterwards = "restart_under_fire_loses_nothing", "streams_stay_open_over_a_restart", "messages_arrive_after_a_restart"
	)
	return []wrongLog{
		{"streams_at_the_peer_not_woken", share, faulty(faultPeerIsNotTold)},
		{"streams_at_the_peer_have_other_ids", share, faulty(faultPeerHasItsOwnPositions)},
		{"streams_resume_at_the_head", keep, faulty(faultPeerResumesAtTheHead)},
		{"streams_resume_at_the_head_under_fire", resume, faulty(faultPeerResumesAtTheHead)},
		{"streams_resume_nothing_of_others", resume, faulty(faultPeerHasItsOwnPositions)},

		{"name_reaches_all", reach, changing(toAll, nil)},
		{"name_reaches_nobody", reach, postingBy(toNobodyByName)},
		{"all_reaches_nobody", reach, postingBy(toOneAtMost)},
		{"peer_posts_nothing", reach, postingBy(peerIsMute)},
		{"names_in_lower_case", reach, receiving(receivesForLowerCase)()},
		{"names_cut_short", reach, receiving(receivesForAFewLetters)()},
		{"messages_trimmed", unchanged, changing(nil, bytes.TrimSpace)},
		{"messages_until_zero", unchanged, changing(nil, untilZero)},
		{"messages_made_valid", unchanged, changing(nil, validText)},
		{"messages_cut_short", unchanged, changing(nil, at32KiB)},
		{"large_messages_refused", unchanged, postingBy(largeRefused)},
		{"messages_kept_by_post", owned, messageKept()},
		{"messages_shared_by_receivers", owned, messagesShared()},
		{"receivers_not_stopped", stop, receiving(receivesUntilEver)()},
		{"receivers_stopped_twice_panic", stop, receiving(receivesUntilStoppedOnce)()},
		{"receivers_stopped_by_name", stop, stopByName()},

		{"orders_do_not_reach_the_peer", disconnect, faulty(faultPeerHearsNoControl)},
		{"peer_tells_nobody_who_is_online", online, postingBy(peerIsMute)},

		{"restart_forgets_an_event", restart, faulty(faultRestartForgets)},
		{"restart_repeats_an_event", restart, faulty(faultRestartRepeats)},
		{"restart_is_not_told_to_the_peer", restart, faulty(faultRestartNotTold)},
		{"restart_moves_readers_back", restart, faulty(faultAwayMovesBack)},
		{"restart_moves_readers_to_the_head", restart, faulty(faultAwayMovesToTheHead)},
		{"restart_is_a_gap", restart, awayIsAGap()},
		{"restart_moves_streams_back", stay, faulty(faultAwayMovesBack)},
		{"restart_gives_streams_a_gap", stay, awayIsAGap()},
		{"restart_forgets_receivers", afterwards, faulty(faultRestartDeaf)},
	}
}
