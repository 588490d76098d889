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
		for _, subject := range []string{"all", "user:" + name, "topic:" + name, "command:" + name, "run:" + name} {
			nats, err := natsSubject("p.q", subject)
			if err != nil {
				if valid || !errors.Is(err, eventlog.ErrInvalidRecord) {
					t.Errorf("%q: %v", subject, err)
				}
				continue
			}
			if !valid && subject != "all" {
				t.Errorf("%q is accepted", subject)
			}
			if back := logSubject("p.q", nats); back != subject {
				t.Errorf("%q became %q, and that %q", subject, nats, back)
			}
			token := nats[strings.LastIndexByte(nats, '.')+1:]
			if strings.ContainsAny(token, ".*> \t\r\n") || !utf8.ValidString(token) {
				t.Errorf("%q is not a token", token)
			}
		}
	})
}

func TestForeignNATSSubjectsAreNoSubjects(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{"p.user.a!", "p.user.YQ=", "p.user.YR", "p.user.", "p.user", "p.group.YQ", "p.all.YQ", "p.control", "p.user.AA"} {
		if got := logSubject("p", subject); got != "" {
			t.Errorf("%q is %q", subject, got)
		}
	}
}
