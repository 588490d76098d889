package eventlog_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

func TestCursorTextFormIsReversible(t *testing.T) {
	t.Parallel()
	for _, c := range []eventlog.Cursor{
		{Epoch: 1},
		{Epoch: 1, Seq: 1, Check: 1},
		{Epoch: math.MaxUint32, Seq: math.MaxUint64, Check: math.MaxUint32},
	} {
		text := c.String()
		if len(text) != eventlog.CursorLen {
			t.Errorf("%v has %d bytes, want %d", c, len(text), eventlog.CursorLen)
		}
		if got, err := eventlog.ParseCursor(text); err != nil || got != c {
			t.Errorf("%v came back as %v, %v", c, got, err)
		}
	}
}

func TestParseCursorRefusesOtherText(t *testing.T) {
	t.Parallel()
	good := eventlog.Cursor{Epoch: 1, Seq: 2, Check: 3}.String()
	tests := map[string]string{
		"empty":          "",
		"short":          good[:len(good)-1],
		"long":           good + "A",
		"huge":           strings.Repeat("A", 1<<20),
		"other_alphabet": strings.Repeat("+", eventlog.CursorLen),
		"padding":        good[:len(good)-1] + "=",
		"line_break":     good[:len(good)-1] + "\n",
		"trailing_bits":  good[:len(good)-1] + "_",
		"version":        "B" + good[1:],
		"zero":           eventlog.Cursor{}.String(),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := eventlog.ParseCursor(text); !errors.Is(err, eventlog.ErrInvalidCursor) || !got.IsZero() {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("")
	f.Add(eventlog.Cursor{Epoch: 1, Seq: 2, Check: 3}.String())
	f.Add("AYGS348AAAAAAAAAAMZ9s9E")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := eventlog.ParseCursor(text)
		if err == nil && c.String() != text {
			t.Fatalf("%q and %q are the same cursor", text, c.String())
		}
	})
}

func BenchmarkCursorString(b *testing.B) {
	b.ReportAllocs()
	c := eventlog.Cursor{Epoch: 1, Seq: 2, Check: 3}
	for b.Loop() {
		if c.String() == "" {
			b.Fatal()
		}
	}
}
