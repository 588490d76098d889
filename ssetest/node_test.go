package ssetest_test

import (
	"errors"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

func TestNodesShareAHistory(t *testing.T) {
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	var woken []string
	defer nodes[1].Watch(func(subject string, _ uint64) { woken = append(woken, subject) })()
	start, err := nodes[1].Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, err := nodes[0].Append(t.Context(), eventlog.Record{Subject: "user:alice", Frame: []byte("data: 1\n\n")})
	if err != nil {
		t.Fatal(err)
	}
	page, err := nodes[1].Read(t.Context(), eventlog.Query{Subjects: []string{"user:alice"}, After: start, MaxEntries: 9, MaxBytes: 999}, nil)
	if err != nil || page.Through != at || len(page.Entries) != 1 || page.Gap != "" {
		t.Errorf("%+v, %v", page, err)
	}
	if len(woken) != 1 || woken[0] != "user:alice" {
		t.Errorf("woken for %q", woken)
	}
}

func TestNodeThatIsAway(t *testing.T) {
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	var woken, messages []string
	defer nodes[1].Watch(func(subject string, _ uint64) { woken = append(woken, subject) })()
	stop := nodes[1].Receive("b", func(message []byte) { messages = append(messages, string(message)) })
	post := func(to, text string) {
		t.Helper()
		if err := nodes[0].Post(to, []byte(text)); err != nil {
			t.Error(err)
		}
	}
	post("b", "1")
	post("a", "2")
	post("", "3")
	nodes[1].SetPartitioned(true)
	post("", "4")
	if _, err := nodes[0].Append(t.Context(), eventlog.Record{Subject: "all", Frame: []byte("data: 1\n\n")}); err != nil {
		t.Error(err)
	}
	if _, err := nodes[1].Append(t.Context(), eventlog.Record{Subject: "all", Frame: []byte("data: 1\n\n")}); !errors.Is(err, ssetest.ErrPartitioned) {
		t.Errorf("appending: %v", err)
	}
	if _, err := nodes[1].Head(t.Context()); !errors.Is(err, ssetest.ErrPartitioned) {
		t.Errorf("head: %v", err)
	}
	if err := nodes[1].Post("", nil); !errors.Is(err, ssetest.ErrPartitioned) {
		t.Errorf("posting: %v", err)
	}
	if len(woken) != 0 {
		t.Errorf("woken for %q while away", woken)
	}
	nodes[1].SetPartitioned(false)
	if len(woken) != 1 || woken[0] != "" {
		t.Errorf("woken for %q when back", woken)
	}
	post("", "5")
	stop()
	post("", "6")
	if got := len(messages); got != 3 || messages[0] != "1" || messages[1] != "3" || messages[2] != "5" {
		t.Errorf("received %q", messages)
	}
}
