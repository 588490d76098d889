package natslog

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/ginsse/ginsse/eventlog"
)

// nameEncoding makes one NATS token of a name. A token may hold no dot, space, * or >, and case
// matters in it. base64url takes any bytes: a name of 256 bytes takes 342, where hexadecimal takes
// 512. Strict refuses trailing bits, so that each name has exactly one token.
var nameEncoding = base64.RawURLEncoding.Strict()

// anyKey follows the NATS subject of a subject of the log, in a filter for its entries with keys.
const anyKey = ".*"

// natsSubject returns the NATS subject of a subject of the log and a key. The key is a token behind
// the subject's, so that the bound for one NATS subject counts the entries of each key apart from
// all others. Entries without a key have no such token.
func natsSubject(prefix, subject, key string) (string, error) {
	kind, name, ok := eventlog.SplitSubject(subject)
	if !ok {
		return "", fmt.Errorf("%w: subject %q", eventlog.ErrInvalidRecord, subject)
	}
	of := prefix + "." + string(kind)
	if kind != eventlog.KindAll {
		of += "." + nameEncoding.EncodeToString([]byte(name))
	}
	if key == "" {
		return of, nil
	}
	if err := eventlog.CheckName(key); err != nil {
		return "", fmt.Errorf("%w: the key %w", eventlog.ErrInvalidRecord, err)
	}
	return of + "." + nameEncoding.EncodeToString([]byte(key)), nil
}

// logSubject is the inverse of natsSubject. It returns "" for a NATS subject that natsSubject
// never returns.
func logSubject(prefix, of string) (subject, key string) {
	subject, rest, more := strings.Cut(strings.TrimPrefix(of, prefix+"."), ".")
	if subject != eventlog.SubjectAll {
		token, after, another := strings.Cut(rest, ".")
		name, err := nameEncoding.DecodeString(token)
		if err != nil {
			return "", ""
		}
		subject, rest, more = subject+":"+string(name), after, another
	}
	if _, _, ok := eventlog.SplitSubject(subject); !ok {
		return "", ""
	}
	if !more {
		return subject, ""
	}
	name, err := nameEncoding.DecodeString(rest)
	if err != nil || eventlog.CheckName(string(name)) != nil {
		return "", ""
	}
	return subject, string(name)
}

// matchesFilter reports whether a filter, which may end in anyKey, matches a NATS subject.
func matchesFilter(filter, of string) bool {
	subject, wild := strings.CutSuffix(filter, anyKey)
	if !wild {
		return of == filter
	}
	key, ok := strings.CutPrefix(of, subject+".")
	return ok && key != "" && !strings.Contains(key, ".")
}
