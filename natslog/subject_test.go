package natslog

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzSubjectRoundTrip(f *testing.F) {
	for _, seed := range []string{"alice", "a.b", "a b", "A", "*", ">", "é", "\xff", strings.Repeat("x", 256)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, subject := range []string{"all", "control", "user:" + name, "topic:" + name} {
			nats, err := natsSubject("p.q", subject)
			if err != nil {
				if name != "" {
					t.Errorf("%q: %v", subject, err)
				}
				continue
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

func TestForeignSubjectsAreNobodys(t *testing.T) {
	for _, subject := range []string{"p.user.a!", "p.user.YQ=", "p.user.YR"} {
		if got := logSubject("p", subject); got != "" {
			t.Errorf("%q is %q", subject, got)
		}
	}
}
