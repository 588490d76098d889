package client

import (
	"bytes"
	"errors"
	"io"
)

const (
	// A Decoder's buffer begins with minBuffer. One that has grown over maxIdle is
	// given back once sparePatience reads in a row had no need of it.
	minBuffer     = 4 << 10
	maxIdle       = 64 << 10
	sparePatience = 16

	// maxEmptyReads in a row are taken for a broken reader.
	maxEmptyReads = 100

	byteOrderMark = "\uFEFF"
)

var errReadCount = errors.New("ginsse: reader returned an impossible count")

// endLine moves pos behind the line's end, which is at the first of lf and cr.
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

// index returns where the first c is, from an offset on, or end.
func (d *Decoder) index(from int, c byte) int {
	if i := bytes.IndexByte(d.buf[from:d.end], c); i >= 0 {
		return from + i
	}
	return d.end
}

// fill reads on. There is no line end in what there is at pos.
func (d *Decoder) fill() error {
	if err := d.unended(); err != nil {
		return err
	}
	if d.err != nil {
		return d.err
	}
	d.makeRoom()
	news := d.end
	for range maxEmptyReads {
		n, err := d.r.Read(d.buf[d.end:])
		if n < 0 || n > len(d.buf)-d.end {
			return errReadCount
		}
		d.end += n
		d.err = err
		if n > 0 {
			d.skipAtStart()
			news = max(news, d.pos)
			d.lf, d.cr = d.index(news, '\n'), d.index(news, '\r')
			d.filled = d.pos
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// skipAtStart takes off what the bytes just read may begin with and no line has:
// the LF of a CRLF, and at the start of the stream one byte order mark.
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
		d.started = !bytes.HasPrefix([]byte(byteOrderMark), have) // or it may still become one
	}
}

// makeRoom makes room behind end. Bytes are moved only when the buffer is full,
// and after that a quarter of it at least is free: so none is moved often.
func (d *Decoder) makeRoom() {
	size := len(d.buf)
	kept := d.dataEnd - d.dataStart + d.end - d.pos
	if kept > size/4 {
		d.spare = 0
	} else if !d.hasData && d.pos != d.filled { // between events, and lines have ended
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

// unended looks at a line of which more is to come: it must not grow over the
// limit, and is not kept if nobody wants it.
func (d *Decoder) unended() error {
	if !d.passingOver {
		line := d.buf[d.pos:d.end]
		if len(line) <= maxFieldName && bytes.IndexByte(line, ':') < 0 {
			return nil // the name may go on
		}
		name, value := split(line)
		if d.wants(name) {
			return d.check(name, len(value))
		}
		d.passingOver = true
	}
	d.pos = d.end
	return nil
}
