package logtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

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
	r := newReader(t, log, subjects...)
	r.max = 7
	for n := 1; n <= 300; n++ {
		add(t, log, subjects[rand.IntN(len(subjects))], n)
	}
	want(t, r.all(t), from(1, 300)...)
}

// readReachesTheHead reads subjects of which there is nothing. The position of such a stream has
// to move, or its client would resume from an old one.
func readReachesTheHead(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(t, log, "user:ali", "user:alice2", "topic:alice")
	for n := range 10 {
		last := add(t, log, []string{alice, bob, all}[n%3], n)
		want(t, r.all(t))
		if r.at.Seq < last.Seq {
			t.Errorf("a reader of other subjects is at %d, the head is at %d", r.at.Seq, last.Seq)
		}
	}
}

// alike are names that a log may confuse if it maps them to something else: to a subject of another
// system with its separators and wildcards, to a file, to a column that ignores case or trailing
// space, or to a key of limited length.
var alike = []string{
	"a.b", "a b", "a*b", "a>b", "a/b", "a%b", "a_b", "a-b", "a+b", "a:b", `a\b`, "a=b", "a#b", "a?b", "a,b", "a$b", "a~b", "ab",
	"a..b", ".a.b", "a.b.", "a", "A", "a.B", " a", "a ", "a.", "a.*", "a.>", "*", ">", "*.b", ".", "..", " ", "%", "_", "__", "$",
	"a%2Eb", "a%2eb", "a%20b", "a=2Eb", `a\u002eb`, "a&amp;b", "61", "YQ", "YQ==",
	"é", "e\u0301", "É", "e", "K", "k", "\u212a", "ß", "ss", "SS", "ı", "i", "I", "İ", "µ", "μ", "ﬁ", "fi", "ａ", "\ufffd",
	"a\u200db", "a\u00a0b", "\ufeffa", "all", "user:a", "topic:a", "nil", "null", "0", "00", "+0",
	strings.Repeat("x", eventlog.MaxNameBytes), strings.Repeat("x", eventlog.MaxNameBytes-1) + "y", strings.Repeat("x", eventlog.MaxNameBytes-1),
	strings.Repeat("x", 128), strings.Repeat("x", 64), strings.Repeat("x", 63) + "y", strings.Repeat("x", 63),
	strings.Repeat("é", eventlog.MaxNameBytes/2), strings.Repeat("é", eventlog.MaxNameBytes/2-1) + "e", strings.Repeat("é", eventlog.MaxNameBytes/2-1),
}

func subjectsAreBytes(t *testing.T, s Suite) {
	subjects := []string{all}
	for _, name := range alike {
		for _, kind := range []eventlog.Kind{eventlog.KindTopic, eventlog.KindUser, eventlog.KindCommand, eventlog.KindRevocation, eventlog.KindRun} {
			subjects = append(subjects, eventlog.Subject(kind, name))
		}
	}
	log := s.New(t, Bounds{})
	w := watch(log)
	defer w.stop()
	together := newReader(t, log, subjects...)
	start := together.at
	for n, subject := range subjects {
		w.await(t, s.patience, subject, add(t, log, subject, n).Seq)
	}
	want(t, together.all(t), from(0, len(subjects)-1)...)
	for n, subject := range subjects {
		if found := readerAt(log, start, subject).all(t); len(found) != 1 || number(found[0]) != n {
			t.Errorf("event %d is of subject %q; its reader got %v", n, subject, numbers(found))
		}
	}
}
