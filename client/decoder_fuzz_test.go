package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// trace decodes a stream and returns its events, comments and reconnection times in order, then the
// last event ID.
func trace(r io.Reader, cfg DecoderConfig) (steps []string, err error) {
	cfg.Comment = func(text string) { steps = append(steps, traceComment(text)) }
	cfg.Retry = func(t time.Duration) { steps = append(steps, traceRetry(t)) }
	d := NewDecoder(r, cfg)
	for {
		e, err := d.Next()
		if err != nil {
			return append(steps, traceEnd(d.LastEventID())), err
		}
		steps = append(steps, traceEvent(e.Type, e.Data, e.LastEventID))
	}
}

func traceEvent(eventType, data, id string) string {
	return fmt.Sprintf("event %q %q %q", eventType, data, id)
}
func traceComment(text string) string   { return fmt.Sprintf("comment %q", text) }
func traceRetry(t time.Duration) string { return fmt.Sprintf("retry %d", t) }
func traceEnd(id string) string         { return fmt.Sprintf("end %q", id) }

// naive returns the same for a whole text, by following section 9.2.6 step by step.
func naive(stream []byte, id string) (steps []string) {
	// Streams must be decoded using the UTF-8 decode algorithm.
	text := naiveUTF8(bytes.TrimPrefix(stream, []byte{0xEF, 0xBB, 0xBF}))

	// The stream must then be parsed by reading everything line by line.
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\r", "\n")
	lines := strings.Split(text, "\n")
	lines = lines[:len(lines)-1] // the text after the last line end is no line

	var dataBuffer, eventTypeBuffer string
	lastEventIDBuffer := id
	for _, line := range lines {
		field, value, hasColon := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "": // dispatch the event
			id = lastEventIDBuffer
			if dataBuffer == "" {
				eventTypeBuffer = ""
				continue
			}
			dataBuffer = strings.TrimSuffix(dataBuffer, "\n")
			eventType := "message"
			if eventTypeBuffer != "" {
				eventType = eventTypeBuffer
			}
			steps = append(steps, traceEvent(eventType, dataBuffer, id))
			dataBuffer, eventTypeBuffer = "", ""
		case hasColon && field == "":
			steps = append(steps, traceComment(value))
		case field == "event":
			eventTypeBuffer = value
		case field == "data":
			dataBuffer += value + "\n"
		case field == "id" && !strings.Contains(value, "\x00"):
			lastEventIDBuffer = value
		case field == "retry" && value != "" && strings.Trim(value, "0123456789") == "":
			ms, err := strconv.ParseInt(value, 10, 64)
			if err != nil || ms > 9223372036854 { // 2^63 ns
				steps = append(steps, "retry 9223372036854775807")
			} else {
				steps = append(steps, traceRetry(time.Duration(ms*1_000_000)))
			}
		}
	}
	return append(steps, traceEnd(id))
}

// naiveUTF8 is the UTF-8 decoder of the Encoding standard, section 8.1.1.
func naiveUTF8(stream []byte) string {
	var out []rune
	codePoint, seen, needed := 0, 0, 0
	lower, upper := byte(0x80), byte(0xBF)
	for i := 0; i < len(stream); i++ {
		b := stream[i]
		if needed == 0 {
			switch {
			case b <= 0x7F:
				out = append(out, rune(b))
			case b >= 0xC2 && b <= 0xDF:
				needed, codePoint = 1, int(b&0x1F)
			case b >= 0xE0 && b <= 0xEF:
				if b == 0xE0 {
					lower = 0xA0
				}
				if b == 0xED {
					upper = 0x9F
				}
				needed, codePoint = 2, int(b&0xF)
			case b >= 0xF0 && b <= 0xF4:
				if b == 0xF0 {
					lower = 0x90
				}
				if b == 0xF4 {
					upper = 0x8F
				}
				needed, codePoint = 3, int(b&0x7)
			default:
				out = append(out, 0xFFFD)
			}
			continue
		}
		if b < lower || b > upper {
			codePoint, needed, seen, lower, upper = 0, 0, 0, 0x80, 0xBF
			out = append(out, 0xFFFD)
			i-- // restore the byte
			continue
		}
		lower, upper = 0x80, 0xBF
		codePoint = codePoint<<6 | int(b&0x3F)
		if seen++; seen == needed {
			out = append(out, rune(codePoint))
			codePoint, needed, seen = 0, 0, 0
		}
	}
	if needed != 0 {
		out = append(out, 0xFFFD)
	}
	return string(out)
}

// randomReads returns a reader that returns a random number of bytes at a time, like a network.
func randomReads(stream []byte, seed uint64) io.Reader {
	return &raggedReader{stream, rand.New(rand.NewPCG(seed, 0))}
}

type raggedReader struct {
	stream []byte
	random *rand.Rand
}

func (r *raggedReader) Read(p []byte) (int, error) {
	if len(r.stream) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.random.IntN(9))], r.stream)
	r.stream = r.stream[n:]
	if len(r.stream) == 0 && r.random.IntN(2) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// checkAgainstNaive checks that the decoder agrees with naive, also with random reads. Where a
// stream exceeds the limit must not depend on the reads.
func checkAgainstNaive(t *testing.T, stream []byte, id string, seed uint64, limit int) {
	t.Helper()
	got, err := trace(randomReads(stream, seed), DecoderConfig{LastEventID: id, MaxEventBytes: -1})
	if want := naive(stream, id); err != io.EOF || !slices.Equal(got, want) {
		t.Fatalf("%q: got %s, %v\nwant %s", stream, got, err, want)
	}
	cfg := DecoderConfig{LastEventID: id, MaxEventBytes: limit}
	whole, wholeErr := trace(bytes.NewReader(stream), cfg)
	ragged, raggedErr := trace(randomReads(stream, seed), cfg)
	var tooLarge, raggedTooLarge *EventTooLargeError
	if errors.As(wholeErr, &tooLarge) != errors.As(raggedErr, &raggedTooLarge) || !slices.Equal(whole, ragged) {
		t.Fatalf("%q, limit %d: at once %s, %v\nin pieces %s, %v", stream, limit, whole, wholeErr, ragged, raggedErr)
	}
}

func FuzzDecoder(f *testing.F) {
	for _, test := range rules {
		f.Add([]byte(test.stream), "", uint64(1), 4)
	}
	f.Add([]byte("id:1\ndata:\xF0\x9F\x98\ndata: \xED\xA0\x80\n\n\n"), "\xff", uint64(2), 3)
	f.Add([]byte(":"+strings.Repeat("x", 5000)+"\rdata:"+strings.Repeat("y", 5000)+"\r\r"), "0", uint64(3), 4999)
	f.Fuzz(func(t *testing.T, stream []byte, id string, seed uint64, limit int) {
		checkAgainstNaive(t, stream, id, seed, limit&0xFFFF)
	})
}

// The streams combine parts that matter to a decoder. Fuzzing takes long to find these.
func TestDecoderAgreesWithNaiveDecoder(t *testing.T) {
	t.Parallel()
	parts := []string{
		"data", "data:", "data: ", "event", "event:", "id", "id:", "retry:", ":", " ", "\r", "\n", "\r\n", "\n\n", "\r\r", "\r\n\r\n",
		"1", "23", "x", "\x00", "\xF0\x9F", "\x98", "\x80", "\xED\xA0", "\uFEFF", "\u00e9", "\U0001F600", "id: 7\n", "event: add\n", "data: text\n",
		strings.Repeat("y", 90), strings.Repeat("z", 1500),
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 8_000 {
		var stream []byte
		for range random.IntN(40) {
			stream = append(stream, parts[random.IntN(len(parts))]...)
		}
		checkAgainstNaive(t, stream, "", uint64(i), 1+random.IntN(200))
	}
}
