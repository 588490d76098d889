package client

import (
	"bytes"
	"math"
	"time"
)

// fieldName is the name of a field. A comment is a field without a name.
type fieldName int

const (
	nameUnknown fieldName = iota
	nameComment
	nameData
	nameEvent
	nameID
	nameRetry
)

const maxFieldName = len("retry")

// field processes a line that is not blank. lineEnd is the offset of its end in buf.
func (d *Decoder) field(line []byte, lineEnd int) error {
	name, value := split(line)
	if !d.wants(name) {
		return nil
	}
	if err := d.check(name, len(value)); err != nil {
		return err
	}
	switch name {
	case nameData:
		if !d.hasData {
			d.hasData = true
			d.dataStart, d.dataEnd = lineEnd-len(value), lineEnd
			break
		}
		d.buf[d.dataEnd] = '\n' // there is room: this line's own name comes after dataEnd
		d.dataEnd++
		d.dataEnd += copy(d.buf[d.dataEnd:], value)
	case nameEvent:
		d.eventType = append(d.eventType[:0], value...)
	case nameID:
		if bytes.IndexByte(value, 0) < 0 {
			d.hasID = true
			d.newID = append(d.newID[:0], value...)
		}
	case nameRetry:
		if reconnectionTime, ok := parseRetry(value); ok {
			d.retry(reconnectionTime)
		}
	case nameComment:
		d.comment(decodeText(value))
	}
	return nil
}

// wants reports whether the values of a field are used.
func (d *Decoder) wants(name fieldName) bool {
	switch name {
	case nameUnknown:
		return false
	case nameComment:
		return d.comment != nil
	case nameRetry:
		return d.retry != nil
	default:
		return true
	}
}

// check returns an error if the event would be too large with a value of n bytes. The value may be
// incomplete.
func (d *Decoder) check(name fieldName, n int) error {
	switch name {
	case nameData:
		n += d.dataEnd - d.dataStart + len(d.eventType) + len(d.newID)
		if d.hasData {
			n++ // the LF between two lines
		}
	case nameEvent: // it replaces an earlier one
		n += d.dataEnd - d.dataStart + len(d.newID)
	case nameID:
		n += d.dataEnd - d.dataStart + len(d.eventType)
	}
	if n > d.limit {
		return &EventTooLargeError{Limit: d.limit}
	}
	return nil
}

// split splits a line that is not empty. A line without a colon is a field with an empty value.
func split(line []byte) (name fieldName, value []byte) {
	n := 0
	for n < len(line) && line[n] != ':' {
		if n == maxFieldName {
			return nameUnknown, nil
		}
		n++
	}
	if n < len(line) {
		value = line[n+1:]
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
	}
	switch string(line[:n]) {
	case "":
		return nameComment, value
	case "data":
		return nameData, value
	case "event":
		return nameEvent, value
	case "id":
		return nameID, value
	case "retry":
		return nameRetry, value
	default:
		return nameUnknown, nil
	}
}

// parseRetry parses a reconnection time in milliseconds, which has only ASCII digits.
func parseRetry(value []byte) (time.Duration, bool) {
	const most = int64(math.MaxInt64 / time.Millisecond)
	var ms int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		ms = min(ms*10+int64(c-'0'), most+1)
	}
	if ms > most {
		return math.MaxInt64, true
	}
	return time.Duration(ms) * time.Millisecond, len(value) > 0
}
