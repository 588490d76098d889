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

// natsSubject returns the NATS subject of a subject of the log.
func natsSubject(prefix, subject string) (string, error) {
	switch kind, name, ok := eventlog.SplitSubject(subject); {
	case !ok:
		return "", fmt.Errorf("%w: subject %q", eventlog.ErrInvalidRecord, subject)
	case kind == eventlog.KindAll:
		return prefix + "." + subject, nil
	default:
		return prefix + "." + string(kind) + "." + nameEncoding.EncodeToString([]byte(name)), nil
	}
}

// logSubject is the inverse of natsSubject. It returns "" for a NATS subject that natsSubject
// never returns.
func logSubject(prefix, subject string) string {
	kind, token, named := strings.Cut(strings.TrimPrefix(subject, prefix+"."), ".")
	if named {
		name, err := nameEncoding.DecodeString(token)
		if err != nil {
			return ""
		}
		kind += ":" + string(name)
	}
	if _, _, ok := eventlog.SplitSubject(kind); !ok {
		return ""
	}
	return kind
}
