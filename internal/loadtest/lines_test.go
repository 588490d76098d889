package loadtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// splitAt feeds a text in two pieces, and returns the lines with their lengths.
func splitAt(l *Lines, text string, at int) (lines []string) {
	each := func(line []byte, length int) { lines = append(lines, fmt.Sprintf("%s %d", line, length)) }
	for _, piece := range []string{text[:at], text[at:]} {
		p := []byte(piece)
		l.Split(p, each)
		clear(p) // the reader uses its buffer again
	}
	return lines
}

func TestLinesEndAsTheStandardSaysWhereverThePiecesEnd(t *testing.T) {
	t.Parallel()
	const text = "a\nbb\r\n\r\n\rccc\r\n\nd"
	want := []string{"a 1", "bb 2", " 0", " 0", "ccc 3", " 0"}
	for at := range len(text) {
		if got := splitAt(&Lines{Keep: 9}, text, at); !slices.Equal(got, want) {
			t.Errorf("in pieces at %d: %q, want %q", at, got, want)
		}
	}
}

func TestLinesKeepOnlyTheBeginningOfALongLine(t *testing.T) {
	t.Parallel()
	const size = 100_000
	text := strings.Repeat("x", size) + "\nshort\n"
	for _, at := range []int{1, size / 2, size, len(text)} {
		l := Lines{Keep: 256}
		got := splitAt(&l, text, at)
		want := []string{strings.Repeat("x", 256) + fmt.Sprint(" ", size), "short 5"}
		if !slices.Equal(got, want) {
			t.Errorf("at %d: %.20q", at, got)
		}
		if cap(l.held) > 2*256 {
			t.Errorf("at %d: %d bytes are kept", at, cap(l.held))
		}
	}
}

func TestLinesFreeTheMemoryOfALongLine(t *testing.T) {
	t.Parallel()
	l := Lines{Keep: 64 << 10}
	splitAt(&l, strings.Repeat("x", 60_000)+"\n", 30_000)
	if cap(l.held) > maxHeld {
		t.Errorf("%d bytes are kept", cap(l.held))
	}
}
