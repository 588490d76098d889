package load

import (
	"bytes"
	"fmt"
	"strings"
)

// response decodes an HTTP/1.1 response in chunked coding, piece by piece as it arrives. It
// copies only what is incomplete at the end of a piece. After the headers, and a size that
// was split, it allocates nothing.
type response struct {
	part   part
	held   []byte // incomplete headers, or an incomplete line of a chunk's size
	remain int    // bytes missing of the chunk, or of its end
}

// part is the part of the response that the next byte belongs to.
type part uint8

const (
	inHeaders part = iota
	inSize
	inChunk
	inChunkEnd
	inNothing // after the last chunk
)

// opened reports whether the headers have arrived, ended whether the last chunk has.
func (r *response) opened() bool { return r.part > inHeaders }
func (r *response) ended() bool  { return r.part == inNothing }

// next reads p up to the end of the current part. It returns what belongs to the body, and
// the rest of p.
func (r *response) next(p []byte) (body, rest []byte, err error) {
	switch r.part {
	case inHeaders:
		rest, err = r.headers(p)
	case inSize:
		rest, err = r.size(p)
	case inChunk:
		body, rest = r.skip(p)
		if r.remain == 0 {
			r.part, r.remain = inChunkEnd, len("\r\n")
		}
	case inChunkEnd:
		_, rest = r.skip(p)
		if r.remain == 0 {
			r.part = inSize
		}
	case inNothing: // trailers, which no contestant sends
	}
	return body, rest, err
}

// skip splits p after the bytes that are missing of the current part.
func (r *response) skip(p []byte) (skipped, rest []byte) {
	n := min(r.remain, len(p))
	r.remain -= n
	return p[:n], p[n:]
}

// headers returns an error if the response is not an event stream. It knows the spelling of
// Go's servers only.
func (r *response) headers(p []byte) (rest []byte, err error) {
	r.held = append(r.held, p...)
	head, rest, complete := bytes.Cut(r.held, []byte("\r\n\r\n"))
	if !complete {
		return nil, nil
	}
	if text := string(head); !strings.HasPrefix(text, "HTTP/1.1 200 ") ||
		!strings.Contains(text, "\r\nTransfer-Encoding: chunked") ||
		!strings.Contains(text, "\r\nContent-Type: text/event-stream") {
		return nil, fmt.Errorf("not an event stream: %q", text)
	}
	r.part, r.held = inSize, nil // rest is a part of it
	return rest, nil
}

func (r *response) size(p []byte) (rest []byte, err error) {
	line, rest, complete := bytes.Cut(p, []byte("\n"))
	if !complete || len(r.held) > 0 {
		r.held = append(r.held, line...)
		line = r.held
	}
	if !complete {
		return nil, nil
	}
	if r.remain, err = parseSize(line); err != nil {
		return nil, err
	}
	r.held, r.part = r.held[:0], inChunk
	if r.remain == 0 {
		r.part = inNothing
	}
	return rest, nil
}

// mostSizeDigits allows chunks of up to 256 MB.
const mostSizeDigits = 7

func parseSize(line []byte) (int, error) {
	digits := bytes.TrimSuffix(line, []byte("\r"))
	if len(digits) == 0 || len(digits) > mostSizeDigits {
		return 0, fmt.Errorf("not the size of a chunk: %q", line)
	}
	n := 0
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		default:
			return 0, fmt.Errorf("not the size of a chunk: %q", line)
		}
	}
	return n, nil
}
