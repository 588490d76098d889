package loadtest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// mark is what the sender puts into a body, and finds in the data of the event that the server makes
// of it: "ssecat-", the run, and the fields below, in hexadecimal digits. JSON and HTML leave it
// unchanged.
type mark struct {
	source int           // which of the sender's sequences it belongs to
	number int           // in that sequence, from 0
	due    time.Duration // when it was to be sent, since the beginning of the run
}

// markBytes is the length of a mark without its prefix.
const markBytes = 2 * (4 + 4 + 8)

// markPrefix returns the beginning of all marks of a run.
func markPrefix(run uint64) []byte { return fmt.Appendf(nil, "ssecat-%016x-", run) }

func (m mark) append(b []byte) []byte {
	var raw [markBytes / 2]byte
	binary.BigEndian.PutUint32(raw[:], uint32(m.source))
	binary.BigEndian.PutUint32(raw[4:], uint32(m.number))
	binary.BigEndian.PutUint64(raw[8:], uint64(m.due))
	return hex.AppendEncode(b, raw[:])
}

// parseMark reads what append has written.
func parseMark(text []byte) (m mark, ok bool) {
	var raw [markBytes / 2]byte
	if len(text) != markBytes {
		return m, false
	}
	if _, err := hex.Decode(raw[:], text); err != nil {
		return m, false
	}
	return mark{
		source: int(binary.BigEndian.Uint32(raw[:])),
		number: int(binary.BigEndian.Uint32(raw[4:])),
		due:    time.Duration(binary.BigEndian.Uint64(raw[8:])),
	}, true
}
