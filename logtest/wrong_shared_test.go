package logtest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// wrongNode is a node with methods in place of another's; nil leaves the other's.
type wrongNode struct {
	*ssetest.Node

	read    func(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error)
	post    func(to string, message []byte) error
	receive func(name string, fn func(message []byte)) (stop func())
}

func (w *wrongNode) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
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

// postingBy tests nodes with a Post in place of their own.
func postingBy(post func(n *ssetest.Node, peer bool, to string, message []byte) error) Suite {
	return clusterSuite(func(n *ssetest.Node, peer bool) eventlog.Log {
		return &wrongNode{Node: n, post: func(to string, message []byte) error { return post(n, peer, to, message) }}
	})
}

// changing tests nodes that change a message, or its receiver.
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

func peerPostsNothing(n *ssetest.Node, peer bool, to string, message []byte) error {
	if peer {
		return nil
	}
	return n.Post(to, message)
}

func postsToNamesOnly(n *ssetest.Node, _ bool, to string, message []byte) error {
	if to == "" {
		return nil
	}
	return n.Post(to, message)
}

func postsToAllOnly(n *ssetest.Node, _ bool, to string, message []byte) error {
	if to != "" {
		return nil
	}
	return n.Post(to, message)
}

// largeRefused is the limit of a log that puts something before each message.
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
		return clusterSuite(func(n *ssetest.Node, _ bool) eventlog.Log {
			return &wrongNode{Node: n, receive: func(name string, fn func([]byte)) func() { return receive(n, name, fn) }}
		})
	}
}

func receivesForLowerCase(n *ssetest.Node, name string, fn func([]byte)) func() {
	return n.Receive(strings.ToLower(name), fn)
}

func receivesForAPrefix(n *ssetest.Node, name string, fn func([]byte)) func() {
	return n.Receive(name[:min(len(name), 31)], fn)
}

func receivesForEver(n *ssetest.Node, name string, fn func([]byte)) func() {
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

// stopByName stops all receivers of the name.
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

// The wrong ways to be partitioned.

// partitionIsAGap reports a gap while the node is partitioned.
func partitionIsAGap() Suite {
	return clusterSuite(func(n *ssetest.Node, _ bool) eventlog.Log {
		return &wrongNode{Node: n, read: func(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
			if _, err := n.Head(ctx); errors.Is(err, ssetest.ErrPartitioned) {
				return eventlog.Page{Entries: dst, Through: q.After, Gap: eventlog.GapEpoch}, nil
			}
			return n.Read(ctx, q, dst)
		}}
	})
}
