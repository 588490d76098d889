package ginsse

import (
	"strconv"
	"sync"
	"syscall"
)

// workspace is what a goroutine needs to write compact streams. It writes the turn of one stream at
// a time, in the chunked coding (RFC 9112, section 7.1).
type workspace struct {
	turn *turn

	stream *compact
	skip   int   // bytes of the turn, with framing, that were sent before
	full   bool  // the connection takes no more at the moment
	err    error // the first failure
	chunk  []byte

	// The arguments and results of a system call: a function with variables of its own would be
	// allocated for each call.
	data        []byte
	n           int
	sysErr      error
	writeSystem func(fd uintptr) bool
	readSystem  func(fd uintptr) bool
	input       [1 << 10]byte
}

var workspaces sync.Pool // of *workspace

func borrowWorkspace() *workspace {
	if w, ok := workspaces.Get().(*workspace); ok {
		return w
	}
	w := &workspace{turn: new(turn)}
	w.writeSystem = func(fd uintptr) bool {
		w.n, w.sysErr = uninterrupted(func() (int, error) { return syscall.Write(int(fd), w.data) })
		return true
	}
	w.readSystem = func(fd uintptr) bool {
		w.n, w.sysErr = uninterrupted(func() (int, error) { return syscall.Read(int(fd), w.input[:]) })
		return true
	}
	return w
}

func (w *workspace) release() { workspaces.Put(w) }

// uninterrupted repeats a system call that a signal has interrupted.
func uninterrupted(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR { //nolint:errorlint // as package syscall returns it
			return max(n, 0), err
		}
	}
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
func (w *workspace) send(b []byte) int {
	k := w.stream
	if k.raw == nil {
		b = b[:min(len(b), writePiece)]
		k.dog.begin(len(b))
		n, err := k.conn.Write(b)
		k.dog.end()
		w.err = err
		return n
	}
	w.data = b
	if err := k.raw.Write(w.writeSystem); err != nil {
		w.n, w.sysErr = 0, err
	}
	w.data = nil
	if w.sysErr == syscall.EAGAIN { //nolint:errorlint // as package syscall returns it
		w.full = true
	} else {
		w.err = w.sysErr
	}
	return w.n
}

// read reads what the client of a stream has sent, without waiting, and discards it.
func (w *workspace) read(k *compact) (int, error) {
	if err := k.raw.Read(w.readSystem); err != nil {
		return 0, err
	}
	return w.n, w.sysErr
}
