package loadtest

import "bytes"

// Lines splits an event stream into lines, piece by piece as it arrives. It keeps nothing but the
// beginning of a line that is split over pieces, and allocates nothing for other lines.
type Lines struct {
	// Keep is how many bytes of a line are kept. The rest is only counted.
	Keep int

	held    []byte // beginning of an incomplete line, at most Keep bytes
	length  int    // bytes of that line so far
	afterCR bool   // the last byte was the CR of a line end; an LF after it belongs to that
}

// maxHeld is how many bytes of memory an incomplete line may leave to the next one.
const maxHeld = 4 << 10

// Split calls each for each line that ends in p, with the beginning of the line and its length. The
// beginning is valid during the call.
func (l *Lines) Split(p []byte, each func(beginning []byte, length int)) {
	for len(p) > 0 {
		if l.afterCR {
			l.afterCR = false
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		end := bytes.IndexByte(p, '\n')
		piece := p
		if end >= 0 {
			piece = p[:end]
		}
		if cr := bytes.IndexByte(piece, '\r'); cr >= 0 {
			end, piece, l.afterCR = cr, p[:cr], true
		}
		if end < 0 {
			l.hold(p)
			return
		}
		p = p[end+1:]
		if l.length == 0 {
			each(piece[:min(len(piece), l.Keep)], len(piece))
			continue
		}
		l.hold(piece)
		each(l.held, l.length)
		l.length, l.held = 0, l.held[:0]
		if cap(l.held) > maxHeld {
			l.held = nil
		}
	}
}

// hold keeps a piece of an incomplete line, up to Keep bytes in all, and counts its bytes.
func (l *Lines) hold(p []byte) {
	l.length += len(p)
	l.held = append(l.held, p[:min(len(p), l.Keep-len(l.held))]...)
}
