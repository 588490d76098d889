package ginsse

import (
	"strconv"
	"sync"
)

// workspace is what a goroutine needs to write compact streams. It writes the turn of one stream at
// a time, in the chunked coding (RFC 9112, section 7.1).
type workspace struct {
	turn  *turn
	taken int // entries that were put into turns; reset by its user

	stream *compact
	skip   int   // bytes of the turn, with framing, that were sent before
	full   bool  // the connection takes no more at the moment
	err    error // the first failure
	chunk  []byte

	input [1 << 10]byte
}

var workspaces sync.Pool // of *workspace

func borrowWorkspace() *workspace {
	if w, ok := workspaces.Get().(*workspace); ok {
		return w
	}
	return &workspace{turn: new(turn)}
}

func (w *workspace) release() {
	w.turn.reset()
	w.stream, w.taken = nil, 0
	workspaces.Put(w)
}

// begin prepares for writing what a stream has not sent yet of a turn.
func (w *workspace) begin(k *compact) {
	w.stream, w.skip, w.full, w.err = k, k.sent, false, nil
}

// block implements sink.
func (w *workspace) block(b []byte) {
	w.chunk = append(strconv.AppendUint(w.chunk[:0], uint64(len(b)), 16), "\r\n"...)
	if len(b) < largeBlock {
		w.chunk = append(append(w.chunk, b...), "\r\n"...)
		w.put(w.chunk)
		return
	}
	w.put(w.chunk)
	w.put(b)
	w.put(lineEnd)
}

var lineEnd = []byte("\r\n")

// gathered implements sink.
func (w *workspace) gathered(chunk []byte) {
	var digits [frameRoom]byte
	size := append(strconv.AppendUint(digits[:0], uint64(len(chunk)-frameRoom-len("\r\n")), 16), "\r\n"...)
	chunk = chunk[frameRoom-len(size):]
	copy(chunk, size)
	w.put(chunk)
}

// put sends the next bytes of a turn, if the connection takes them.
func (w *workspace) put(b []byte) {
	if w.skip >= len(b) {
		w.skip -= len(b)
		return
	}
	b = b[w.skip:]
	w.skip = 0
	for len(b) > 0 && !w.full && w.err == nil {
		n := w.send(b)
		w.stream.sent += n
		b = b[n:]
	}
}

// send sends as much as one call takes, and returns how much that is.
func (w *workspace) send(b []byte) (n int) {
	k := w.stream
	if k.conn == nil {
		n, w.full, w.err = writeSocket(k.fd, b)
		return n
	}
	b = b[:min(len(b), writePiece)]
	k.dog.begin(len(b))
	n, w.err = k.conn.Write(b)
	k.dog.end()
	return n
}
