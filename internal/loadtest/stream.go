package loadtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ginsse/ginsse/client"
)

// stream is one event stream, over all of its connections. Its goroutine runs [stream.live].
type stream struct {
	run   *run
	tally *tally // counts what happens to the stream; its lock guards the fields below
	user  User
	block block

	checks

	settled  bool          // the first attempt has ended
	isOpened bool          // the stream was open at least once
	isOver   bool          // the server has ended it for good, or refused it
	failures int           // attempts in a row that failed
	wait     time.Duration // asked for by a Retry-After
}

const (
	// defaultReconnect is the wait before reconnecting until the server sets one with a retry field. It
	// is that of Chromium.
	defaultReconnect = 3 * time.Second
	leastReconnect   = 100 * time.Millisecond // also if a server that cuts its streams asks for no wait
	mostReconnect    = 30 * time.Second       // that failures lead to
	mostAsked        = time.Minute            // that a server can ask for
	openTimeout      = 30 * time.Second       // from dialing to the header of the response
)

// errOver ends a stream for good.
var errOver = errors.New("the stream has ended for good")

// live opens the stream, and reconnects like a browser until ctx ends or the server ends the stream
// for good.
func (s *stream) live(ctx context.Context) {
	for {
		err := s.connect(ctx)
		s.settle()
		if errors.Is(err, errOver) {
			s.count(func() {
				s.isOver = true
				s.tally.closed++
				if s.isOpened && s.events < s.run.cfg.Events {
					s.run.reached.Add(1)
				}
			})
			return
		}
		select {
		case <-time.After(s.pause()):
		case <-ctx.Done():
			return
		}
	}
}

// pause returns the wait before the next attempt.
func (s *stream) pause() time.Duration {
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	d := max(min(s.block.retry, mostAsked), leastReconnect)
	for range s.failures - 1 {
		d = max(min(2*d, mostReconnect), d)
	}
	d = max(d, min(s.wait, mostAsked))
	return d + time.Duration(rand.Float64()/2*float64(d))
}

func (s *stream) count(change func()) {
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	change()
}

// settle records that the first attempt has ended, or has opened the stream.
func (s *stream) settle() {
	s.count(func() {
		if !s.settled {
			s.settled = true
			s.tally.settled++
		}
	})
}

// connect makes one attempt, and reads the stream until the connection ends. It returns errOver if
// the client must not come back.
func (s *stream) connect(ctx context.Context) error {
	start := time.Now()
	conn, response, err := s.open(ctx) //nolint:bodyclose // the connection is closed instead
	if err != nil {
		over := errors.Is(err, errOver)
		s.count(func() {
			s.failures++
			if ctx.Err() == nil {
				countKind(s.tally.errors, kindOf(err))
			}
		})
		if over {
			return errOver
		}
		return err
	}
	defer conn.close()
	s.opened(time.Since(start))
	s.settle()
	err = s.read(conn, response.Body)
	return s.ended(ctx, err)
}

func (s *stream) opened(took time.Duration) {
	s.count(func() {
		t := s.tally
		if s.isOpened {
			t.reconnects++
		} else {
			s.isOpened = true
			t.opened++
			t.opening.record(took)
		}
		s.failures, s.wait = 0, 0
		s.reconnects, s.closes = "", ""
		t.open++
		// What the last connection has left of an event is not continued.
		s.block = block{lines: Lines{Keep: keptLine}, prefix: s.block.prefix, retry: s.block.retry}
	})
}

// ended counts why a connection has ended, and returns errOver if the client must not come back.
func (s *stream) ended(ctx context.Context, err error) (result error) {
	s.count(func() {
		if ctx.Err() != nil {
			return // the run has ended; the stream counts as open
		}
		t := s.tally
		t.open--
		switch {
		case s.closes != "":
			countKind(t.ends, s.closes)
			result = errOver
		case string(s.lastID) == "sse.done":
			countKind(t.ends, "done")
			result = errOver
		case s.reconnects != "":
			countKind(t.ends, s.reconnects)
		case errors.Is(err, io.EOF):
			countKind(t.ends, "ended by the server without a reason")
		default:
			countKind(t.ends, kindOf(err))
		}
	})
	return result
}

// buffers are for reading. A stream has one only while there is something to read.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// read decodes the body until it ends.
func (s *stream) read(conn *connection, body io.Reader) error {
	for {
		if _, err := conn.reader.Peek(1); err != nil {
			if errors.Is(err, io.EOF) && conn.chunked {
				return io.ErrUnexpectedEOF // the last chunk is missing
			}
			return err
		}
		if err := s.readReady(conn, body); err != nil {
			return err
		}
	}
}

// readReady decodes what can be read without waiting, except for the rest of a chunk's size.
func (s *stream) readReady(conn *connection, body io.Reader) error {
	buffer := buffers.Get().(*[32 << 10]byte) //nolint:forcetypeassert // the pool has only these
	defer buffers.Put(buffer)
	for {
		n, err := body.Read(buffer[:])
		now := time.Now()
		s.tally.mu.Lock()
		s.block.feed(buffer[:n], func() { s.received(now) })
		over := s.closes != ""
		s.tally.mu.Unlock()
		switch {
		case err != nil:
			return err
		case over:
			return io.EOF // a page closes the stream
		case conn.reader.Buffered() == 0:
			return nil
		}
	}
}

// connection is one connection of a stream.
type connection struct {
	reader  *bufio.Reader
	chunked bool
	close   func()
}

// open connects, sends the request, and returns the response if it is an event stream.
func (s *stream) open(ctx context.Context) (conn *connection, response *http.Response, err error) {
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	raw, err := s.run.dial(opening)
	if err != nil {
		return nil, nil, err
	}
	// The end of ctx interrupts reads and writes.
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	closeAll := func() {
		stop()
		_ = raw.Close()
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	_ = raw.SetDeadline(time.Now().Add(openTimeout))
	request := s.request(ctx)
	if err := request.Write(raw); err != nil {
		return nil, nil, err
	}
	limited := &io.LimitedReader{R: raw, N: maxHeaderBytes}
	reader := bufio.NewReaderSize(limited, 2<<10)
	response, err = http.ReadResponse(reader, request)
	switch {
	case err != nil && limited.N == 0:
		return nil, nil, errLongHeader
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, nil, errNoResponse
	case err != nil:
		return nil, nil, err
	}
	if err := s.check(response); err != nil {
		return nil, nil, err
	}
	_ = raw.SetDeadline(time.Time{})
	limited.N = math.MaxInt64
	return &connection{reader: reader, chunked: len(response.TransferEncoding) > 0, close: closeAll}, response, nil
}

// maxHeaderBytes bounds the header of a response: http.ReadResponse has no bound.
const maxHeaderBytes = 256 << 10

var (
	errNoResponse = errors.New("closed before a response")
	errLongHeader = errors.New("the header of the response is too long")
)

// request returns the request of an attempt (section 9.2.4 of WHATWG HTML).
func (s *stream) request(ctx context.Context) *http.Request {
	r := (&http.Request{
		Method: http.MethodGet, URL: s.run.cfg.URL, Host: s.run.cfg.Header.Get("Host"), Header: s.run.cfg.Header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	for _, field := range [...]struct{ name, value string }{
		{"Accept", "text/event-stream"}, {"Cache-Control", "no-cache"}, {"Accept-Encoding", "identity"},
	} {
		if r.Header.Get(field.name) == "" {
			r.Header.Set(field.name, field.value)
		}
	}
	if s.user.Token != "" {
		r.Header.Set("Authorization", "Bearer "+s.user.Token)
	}
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	if len(s.lastID) > 0 { // without an ID a browser omits the header
		r.Header.Set("Last-Event-ID", string(s.lastID))
	}
	return r
}

// refusal is a response that is not the one that was asked for.
type refusal struct {
	kind   string
	over   bool   // the client must not try again
	answer string // the beginning of the body, if it was read
}

func (r refusal) Error() string { return r.kind }

// Is makes a refusal errOver if the client must not try again.
func (r refusal) Is(target error) bool { return r.over && target == errOver }

// check returns a refusal if the response is not an event stream. Unlike a browser's EventSource, a
// stream comes back after a status such as 429 or 503, as the kit's client does in a page.
func (s *stream) check(response *http.Response) error {
	if status := response.StatusCode; status != http.StatusOK {
		retry := client.RetryTransient(status)
		if seconds, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 16); err == nil && retry {
			s.count(func() { s.wait = time.Duration(seconds) * time.Second })
		}
		return refusal{kind: fmt.Sprintf("status %d %s", status, http.StatusText(status)), over: !retry}
	}
	contentType := response.Header.Get("Content-Type")
	if mediaType, _, _ := mime.ParseMediaType(contentType); mediaType != "text/event-stream" {
		return refusal{kind: "no event stream, but " + short(contentType), over: true}
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return refusal{kind: "compressed with " + short(encoding) + " although the request forbids it", over: true}
	}
	return nil
}
