package natslog

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/ginsse/ginsse"
)

// names go into one NATS token, which may hold no dot, space, * or >, and in which
// case matters. base64url takes any bytes and keeps different ones apart; at 256 bytes
// it takes 342, where hexadecimal takes 512. Strict: each has one form.
var names = base64.RawURLEncoding.Strict()

// The subjects of the log that are not of a user or a topic.
const subjectAll, subjectControl = "all", "control"

// natsSubject returns the NATS subject of a subject of the log.
func natsSubject(prefix, subject string) (string, error) {
	if subject == subjectAll || subject == subjectControl {
		return prefix + "." + subject, nil
	}
	kind, name, ok := strings.Cut(subject, ":")
	if !ok || name == "" || kind != "user" && kind != "topic" {
		return "", fmt.Errorf("%w: subject %q", ginsse.ErrInvalidSubject, subject)
	}
	return prefix + "." + kind + "." + names.EncodeToString([]byte(name)), nil
}

// logSubject is its inverse. What nobody can have meant is no subject, "".
func logSubject(prefix, subject string) string {
	rest := strings.TrimPrefix(subject, prefix+".")
	if rest == subjectAll || rest == subjectControl {
		return rest
	}
	kind, text, _ := strings.Cut(rest, ".")
	name, err := names.DecodeString(text)
	if err != nil {
		return ""
	}
	return kind + ":" + string(name)
}
