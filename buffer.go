package ginsse

import "sync"

// buffer is memory that is borrowed: by a stream's writer for one turn, so that an
// idle stream has none, and by a sender for one event.
type buffer struct{ bytes []byte }

// maxBufferBytes is the most that is kept: what a full turn needs. The buffer of a
// huge event is not worth it, and a writer whose reader has stalled holds one.
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
