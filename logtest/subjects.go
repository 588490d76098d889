package logtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
)

func subjectsAreApart(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	a, b, none := newReader(log, alice), newReader(log, bob, all), newReader(log, "user:ali", "user:alice2", "topic:alice")
	a.page(t)
	b.page(t)
	none.page(t)
	add(t, log, alice, 1)
	add(t, log, bob, 2)
	last := add(t, log, all, 3)
	want(t, a.all(t), 1)
	want(t, b.all(t), 2, 3)
	want(t, none.all(t))
	// A reader without news has moved all the same: its position stays fresh.
	if none.at.Seq < last.Seq {
		t.Errorf("a reader of other subjects is at %d, the head at %d", none.at.Seq, last.Seq)
	}
}

// topics returns the subjects of so many topics.
func topics(count int) (subjects []string) {
	for n := range count {
		subjects = append(subjects, fmt.Sprint("topic:", n))
	}
	return subjects
}

func subjectsMerge(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	subjects := append(topics(8), alice, all)
	r := newReader(log, subjects...)
	r.max = 7
	r.page(t)
	for n := 1; n <= 300; n++ {
		add(t, log, subjects[rand.IntN(len(subjects))], n)
	}
	want(t, r.all(t), from(1, 300)...)
}

// alike are names that a log mixes up which maps them to something coarser: a subject
// of another system with its separators and wildcards, a file, a column that ignores
// case or trailing space, or a key of limited length.
var alike = []string{
	"a.b", "a b", "a*b", "a>b", "a/b", "a%b", "a_b", "a-b", "a+b", "a:b", `a\b`, "a=b", "a#b", "a?b", "a,b", "a$b", "a~b", "ab",
	"a..b", ".a.b", "a.b.", "a", "A", "a.B", " a", "a ", "a.", "a.*", "a.>", "*", ">", "*.b", ".", "..", " ", "%", "_", "__", "$",
	"a%2Eb", "a%2eb", "a%20b", "a=2Eb", `a\u002eb`, "a&amp;b", "61", "YQ", "YQ==",
	"é", "e\u0301", "É", "e", "K", "k", "\u212a", "ß", "ss", "SS", "ı", "i", "I", "İ", "µ", "μ", "ﬁ", "fi", "ａ", "\ufffd",
	"a\u200db", "a\u00a0b", "\ufeffa", "all", "user:a", "topic:a", "nil", "null", "0", "00", "+0",
	strings.Repeat("x", ginsse.MaxNameBytes), strings.Repeat("x", ginsse.MaxNameBytes-1) + "y", strings.Repeat("x", ginsse.MaxNameBytes-1),
	strings.Repeat("x", 128), strings.Repeat("x", 64), strings.Repeat("x", 63) + "y", strings.Repeat("x", 63),
	strings.Repeat("é", ginsse.MaxNameBytes/2), strings.Repeat("é", ginsse.MaxNameBytes/2-1) + "e", strings.Repeat("é", ginsse.MaxNameBytes/2-1),
}

func subjectsAreBytes(t *testing.T, s Suite) {
	subjects := []string{all, "control"}
	for _, name := range alike {
		subjects = append(subjects, "topic:"+name, "user:"+name)
	}
	log := s.New(t, Bounds{})
	e := listen(log)
	defer e.stop()
	together := newReader(log, subjects...)
	together.page(t)
	start := together.at
	for n, subject := range subjects {
		at := add(t, log, subject, n)
		e.await(t, s, subject, at.Seq)
	}
	want(t, together.all(t), from(0, len(subjects)-1)...)
	for n, subject := range subjects {
		r := newReader(log, subject)
		r.at = start
		if found := r.all(t); len(found) != 1 || number(found[0]) != n {
			t.Errorf("event %d is for %q, who read %v", n, subject, numbers(found))
		}
	}
}
