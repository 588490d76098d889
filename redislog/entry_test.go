package redislog_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
)

// FuzzParseEntry gives the parser entries that anyone with access to Redis could write. What it
// returns has consecutive numbers up to that of the ID, and each event is one.
func FuzzParseEntry(f *testing.F) {
	events := redislog.AppendEvent(nil, eventlog.Record{Subject: "user:bob", Key: "k", Frame: []byte("data: a\n\n")})
	events = redislog.AppendEvent(events, eventlog.Record{Subject: "all", Frame: []byte("data: b\n\n")})
	f.Add("1795996597176888-12345", "1795996597176 99 1000 2", string(events))
	f.Add("1795996597176888-12345", "1795996597176 99 1000 3", string(events))
	f.Add("2-0", "0 0 0 2", "8 0 9 ")
	f.Add("3-1", "0 0 0 1", "2147483647 2147483647 2147483647 x")
	f.Add("3-1", "0 0 0 256", "")
	f.Fuzz(func(t *testing.T, id, about, text string) {
		list, err := redislog.ParseEntry(id, "a", about, "e", text)
		if err != nil || len(list) == 0 {
			return
		}
		if len(list) > 256 {
			t.Fatalf("%d events", len(list))
		}
		for i, e := range list {
			if e.At.Seq != list[0].At.Seq+uint64(i) || e.At.Check != list[0].At.Check {
				t.Fatalf("event %d is at %v after %v", i, e.At, list[0].At)
			}
			if len(e.Block) == 0 {
				continue
			}
			if err := eventlog.CheckFrame(e.AppendFrame(nil)); err != nil && e.Attributes == nil {
				t.Fatalf("%q: %v", e.Block, err)
			}
		}
		if got := fmt.Sprintf("%d-%d", list[len(list)-1].At.Seq, list[0].At.Check); len(got) > 2*len(id)+20 {
			t.Fatal(got)
		}
	})
}

// TestRecordsSurviveTheirForm writes records and reads them.
func TestRecordsSurviveTheirForm(t *testing.T) {
	want := []eventlog.Record{
		{Subject: "user:bob", Frame: []byte("data: a\n\n")},
		{Subject: "user:a b", Key: "1 2 3 ", Frame: []byte("event: e\ndata: 4 0 5 \n\n")},
		{Subject: "all", Key: "ключ", Frame: bytes.Repeat([]byte("x"), 1<<16)},
	}
	var b []byte
	for _, r := range want {
		b = redislog.AppendEvent(b, r)
	}
	for i, r := range want {
		got, rest, err := redislog.CutEvent(b)
		if err != nil || got.Subject != r.Subject || got.Key != r.Key || !bytes.Equal(got.Frame, r.Frame) {
			t.Fatalf("record %d is %.80v, %v", i, got, err)
		}
		b = rest
	}
	if len(b) != 0 {
		t.Errorf("%q is left", b)
	}
	for _, bad := range []string{"", "1", "1 2", "1 2 ", "x 0 0 ", "-1 0 0 ", "4 0 0 abc", "1 1 99999999999999999999 abc"} {
		if r, _, err := redislog.CutEvent([]byte(bad)); err == nil {
			t.Errorf("%q is read as %v", bad, r)
		}
	}
}
