package ginsse

import "sync"

// buffer is memory that a sender borrows to encode one event.
type buffer struct{ bytes []byte }

// maxBufferBytes is the largest buffer that is kept for reuse: what a full turn needs.
const maxBufferBytes = 2 * maxTurnBytes

var buffers sync.Pool // of *buffer

func borrowBuffer() *buffer {
	if b, ok := buffers.Get().(*buffer); ok {
		return b
	}
	return new(buffer)
}

func (b *buffer) release() {
	if cap(b.bytes) > maxBufferBytes {
		return
	}
	b.bytes = b.bytes[:0]
	buffers.Put(b)
}
