package client

import (
	"bytes"
	"errors"
	"io"
)

const (
	// The buffer of a Decoder starts at minBuffer bytes. One larger than maxIdle is freed after
	// sparePatience consecutive reads that did not need it.
	minBuffer     = 4 << 10
	maxIdle       = 64 << 10
	sparePatience = 16

	// After maxEmptyReads consecutive empty reads the reader counts as broken.
	maxEmptyReads = 100

	byteOrderMark = "\uFEFF"
)

var errReadCount = errors.New("ginsse: reader returned an impossible count")

// endLine moves pos past the line end, which is at the smaller of lf and cr.
func (d *Decoder) endLine() {
	if d.lf < d.cr {
		d.pos = d.lf + 1
		d.lf = d.index(d.pos, '\n')
		return
	}
	d.pos = d.cr + 1
	switch d.pos {
	case d.end:
		d.afterCR = true
	case d.lf:
		d.pos++
		d.lf = d.index(d.pos, '\n')
	}
	d.cr = d.index(d.pos, '\r')
}

// index returns the offset of the first c in buf[from:end], or end.
func (d *Decoder) index(from int, c byte) int {
	if i := bytes.IndexByte(d.buf[from:d.end], c); i >= 0 {
		return from + i
	}
	return d.end
}

// fill reads more bytes. The caller has found no line end in buf[pos:end].
func (d *Decoder) fill() error {
	if err := d.checkPartial(); err != nil {
		return err
	}
	if d.err != nil {
		return d.err
	}
	d.makeRoom()
	unseen := d.end
	for range maxEmptyReads {
		n, err := d.r.Read(d.buf[d.end:])
		if n < 0 || n > len(d.buf)-d.end {
			return errReadCount
		}
		d.end += n
		d.err = err
		if n > 0 {
			d.skipAtStart()
			unseen = max(unseen, d.pos)
			d.lf, d.cr = d.index(unseen, '\n'), d.index(unseen, '\r')
			d.filled = d.pos
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// skipAtStart skips bytes at the start of a read that belong to no line. These are the LF of a CRLF
// and, at the start of the stream, one byte order mark.
func (d *Decoder) skipAtStart() {
	if d.afterCR && d.buf[d.pos] == '\n' {
		d.pos++
	}
	d.afterCR = false
	if d.started {
		return
	}
	have := d.buf[d.pos:d.end]
	if bytes.HasPrefix(have, []byte(byteOrderMark)) {
		d.pos += len(byteOrderMark)
		d.started = true
	} else {
		d.started = !bytes.HasPrefix([]byte(byteOrderMark), have) // more bytes may complete the mark
	}
}

// makeRoom makes room after end. It moves bytes only if the buffer is full, and afterwards at least
// a quarter is free. So each byte is moved only a few times.
func (d *Decoder) makeRoom() {
	size := len(d.buf)
	kept := d.dataEnd - d.dataStart + d.end - d.pos
	if kept > size/4 {
		d.spare = 0
	} else if !d.hasData && d.pos != d.filled { // between events, and the last read completed a line
		d.spare++
	}
	switch {
	case size == 0:
		size = minBuffer
	case size > maxIdle && d.spare >= sparePatience:
		for size = minBuffer; size < 2*kept; {
			size *= 2
		}
	case kept == 0 || d.end == size:
		if kept > size/4*3 {
			size *= 2
		}
	default:
		return
	}
	buf := d.buf
	if size != len(buf) {
		buf = make([]byte, size)
	}
	d.dataEnd = copy(buf, d.buf[d.dataStart:d.dataEnd])
	d.end = d.dataEnd + copy(buf[d.dataEnd:], d.buf[d.pos:d.end])
	d.buf, d.dataStart, d.pos = buf, 0, d.dataEnd
}

// checkPartial handles an incomplete line. It returns an error if the line exceeds the limit, and
// discards the line if it is not wanted.
func (d *Decoder) checkPartial() error {
	if !d.skipping {
		line := d.buf[d.pos:d.end]
		if len(line) <= maxFieldName && bytes.IndexByte(line, ':') < 0 {
			return nil // the field name may be incomplete
		}
		name, value := split(line)
		if d.wants(name) {
			return d.check(name, len(value))
		}
		d.skipping = true
	}
	d.pos = d.end
	return nil
}
