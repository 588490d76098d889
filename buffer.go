package ginsse

import "sync"

// buffer is memory that is borrowed: by a stream's writer for one turn, so that an
// idle stream has none, and by a sender for one event.
type buffer struct{ bytes []byte }

// maxBufferBytes is the most that is kept: the buffer of a huge event is not worth
// it.
const maxBufferBytes = 256 << 10

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
