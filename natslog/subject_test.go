package natslog

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ginsse/ginsse/eventlog"
)

func FuzzSubjectRoundTrip(f *testing.F) {
	for _, seed := range []string{"alice", "a.b", "a b", "A", "*", ">", "é", "\xff", "a\nb", strings.Repeat("x", 256), strings.Repeat("x", 257)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		valid := eventlog.CheckName(name) == nil
		for _, subject := range []string{"all", "user:a", "user:" + name, "topic:" + name, "command:" + name, "revoke:" + name, "run:" + name} {
			for _, key := range []string{"", "k", name} {
				nats, err := natsSubject("p.q", subject, key)
				if err != nil {
					if valid || !errors.Is(err, eventlog.ErrInvalidRecord) {
						t.Errorf("%q, key %q: %v", subject, key, err)
					}
					continue
				}
				if !valid && (name != "" && key == name || subject != "all" && subject != "user:a") {
					t.Errorf("%q, key %q is accepted", subject, key)
				}
				if back, backKey := logSubject("p.q", nats); back != subject || backKey != key {
					t.Errorf("%q, key %q became %q, and that %q, key %q", subject, key, nats, back, backKey)
				}
				for token := range strings.SplitSeq(strings.TrimPrefix(nats, "p.q."), ".") {
					if token == "" || strings.ContainsAny(token, "*> \t\r\n") || !utf8.ValidString(token) {
						t.Errorf("%q is not a token", token)
					}
				}
				without, err := natsSubject("p.q", subject, "")
				if err != nil {
					t.Error(err)
				}
				if !matchesFilter(nats, nats) || matchesFilter(without+anyKey, nats) != (key != "") || matchesFilter("p.q.user.x"+anyKey, nats) {
					t.Errorf("filters match %q wrongly", nats)
				}
			}
		}
	})
}

func TestForeignNATSSubjectsAreNoSubjects(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{
		"p.user.a!", "p.user.YQ=", "p.user.YR", "p.user.", "p.user", "p.group.YQ", "p.control", "p.user.AA",
		"p.all.", "p.all.a!", "p.all.AA", "p.all.YQ.YQ", "p.user.YQ.", "p.user.YQ.a!", "p.user.YQ.AA", "p.user.YQ.YQ.YQ",
	} {
		if got, key := logSubject("p", subject); got != "" || key != "" {
			t.Errorf("%q is %q, key %q", subject, got, key)
		}
	}
}
