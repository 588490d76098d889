package eventlog

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ginsse/ginsse/internal/printable"
)

// Kind says what kind of subject a subject is.
type Kind string

// The kinds of subjects.
const (
	// KindUser: events for one user.
	KindUser Kind = "user"
	// KindTopic: events for the readers of one topic.
	KindTopic Kind = "topic"
	// KindCommand: commands to the streams of one user, such as to end.
	KindCommand Kind = "command"
	// KindRevocation: commands to the streams of all users that take a topic away.
	KindRevocation Kind = "revoke"
	// KindRun: what one run has sent, and commands to it. Streams read none of these.
	KindRun Kind = "run"
	// KindAll: events for every stream. This kind has no name.
	KindAll Kind = "all"
)

// HasEvents reports whether applications send events to subjects of the kind.
func (k Kind) HasEvents() bool { return k == KindUser || k == KindTopic || k == KindAll }

// SubjectAll is the subject of events for every stream.
const SubjectAll = string(KindAll)

// MaxNameBytes is the most bytes that a name in a subject may have: a user ID or a topic.
const MaxNameBytes = 256

// Subject returns the subject of a kind and a name that passes [CheckName].
func Subject(kind Kind, name string) string {
	switch kind {
	case KindAll:
		return SubjectAll
	case KindUser: // the most frequent kind: a constant prefix is faster
		return "user:" + name
	default:
		return string(kind) + ":" + name
	}
}

// SplitSubject is the inverse of [Subject]. Subjects are "all", and "user:", "topic:", "command:" or
// "revoke:" or "run:" followed by a name. ok is false for any other text.
func SplitSubject(subject string) (kind Kind, name string, ok bool) {
	if subject == SubjectAll {
		return KindAll, "", true
	}
	prefix, name, _ := strings.Cut(subject, ":")
	switch kind = Kind(prefix); kind {
	case KindUser, KindTopic, KindCommand, KindRevocation, KindRun:
		return kind, name, CheckName(name) == nil
	default:
		return "", "", false
	}
}

// CheckName returns an error that says why a name cannot be part of a subject, as the end of a
// sentence: "is empty". A name has 1 to [MaxNameBytes] bytes of valid UTF-8 without control
// characters: it becomes part of index keys, of log lines and of subjects in other systems.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case len(name) > MaxNameBytes:
		return fmt.Errorf("has %d bytes, more than %d", len(name), MaxNameBytes)
	case printable.Is(name):
		return nil
	case !utf8.ValidString(name):
		return errors.New("is not valid UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%q contains a control character", printable.Clip(name))
	}
	return nil
}
