package ssetest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/client"
)

// limit is the default of [Stream.Patience].
const limit = 20 * time.Second

// Stream is the client's end of one event stream. It reads continuously, even while the test asks
// for no events.
type Stream struct {
	// Response has the status and header of the response. Its body belongs to the Stream.
	Response *http.Response
	// Patience is how long methods wait before they end the test. Default 20 s. In a bubble of
	// testing/synctest a test may need more.
	Patience time.Duration

	tb      testing.TB
	cancel  context.CancelFunc
	decoder *client.Decoder // used by pump alone
	done    chan struct{}   // pump closes it when the stream has ended

	mu    sync.Mutex    // guards the fields below
	queue []Event       // events that were read but not returned yet
	news  chan struct{} // holds a token when queue or err has changed
	err   error         // the error that ended reading
	id    string        // the decoder's last event ID
	retry time.Duration
	notes []string

	heartbeats int // how many were read
}

// Option changes the request that opens a stream.
type Option func(*http.Request)

// Bearer sets an Authorization header.
func Bearer(token string) Option { return Header("Authorization", "Bearer "+token) }

// Header sets a header.
func Header(name, value string) Option {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// LastEventID resumes after an event ID, like a browser that reconnects.
func LastEventID(id string) Option { return Header("Last-Event-ID", id) }

// Connect opens the event stream that answers request, with any client, such as that of an
// httptest.Server. It ends the test unless the response is an event stream. The stream is closed at
// the end of the test.
func Connect(tb testing.TB, httpClient *http.Client, request *http.Request, options ...Option) *Stream {
	tb.Helper()
	ctx, cancel := context.WithCancel(request.Context())
	request = request.Clone(ctx)
	request.Header.Set("Accept", "text/event-stream")
	for _, change := range options {
		change(request)
	}
	timer := time.AfterFunc(limit, cancel)
	response, err := httpClient.Do(request)
	timer.Stop()
	if err != nil {
		cancel()
		tb.Fatalf("ssetest: opening %s: %v", request.URL.Path, err)
	}
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "text/event-stream" {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		_ = response.Body.Close()
		cancel()
		tb.Fatalf("ssetest: opening %s: status %d of type %q: %s", request.URL.Path, response.StatusCode, got, body)
	}
	s := &Stream{
		Response: response,
		Patience: limit,
		tb:       tb,
		cancel:   cancel,
		done:     make(chan struct{}),
		news:     make(chan struct{}, 1),
	}
	s.decoder = client.NewDecoder(body{response.Body, s}, client.DecoderConfig{
		MaxEventBytes: -1, // the test decides what is too large
		Comment:       s.addComment,
		Retry:         s.setRetry,
	})
	go s.pump()
	tb.Cleanup(s.Close)
	return s
}

// body is the reader of a stream's decoder. The decoder reads only when it has handled all previous
// bytes, so Read can record an ID that came without an event.
type body struct {
	io.Reader
	s *Stream
}

func (b body) Read(p []byte) (int, error) {
	b.s.mu.Lock()
	b.s.id = b.s.decoder.LastEventID()
	b.s.mu.Unlock()
	return b.Reader.Read(p)
}

func (s *Stream) addComment(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, text)
}

func (s *Stream) setRetry(reconnectionTime time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retry = reconnectionTime
}

// pump reads the stream until it ends.
func (s *Stream) pump() {
	defer close(s.done)
	for {
		e, err := s.decoder.Next()
		s.mu.Lock()
		s.id = s.decoder.LastEventID()
		if err == nil {
			s.queue = append(s.queue, e)
			if e.Type == heartbeat {
				s.heartbeats++
			}
		}
		s.err = err
		s.mu.Unlock()
		select {
		case s.news <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// heartbeat is the type of the kit's heartbeat event.
const heartbeat = "sse.heartbeat"

// Next returns the next event of any type except a heartbeat. It ends the test if the stream ends
// first, or if no event arrives within [Stream.Patience].
func (s *Stream) Next() Event {
	s.tb.Helper()
	e, err := s.TryNext(s.Patience)
	if err != nil {
		s.tb.Fatalf("ssetest: waiting for an event (Patience is %v): %v", s.Patience, err)
	}
	return e
}

// NextOf returns the next event of a type and skips others. It ends the test as [Stream.Next] does.
// To wait for a heartbeat, use the type "sse.heartbeat".
func (s *Stream) NextOf(eventType string) Event {
	s.tb.Helper()
	var skipped []string
	for {
		e, err := s.tryNext(s.Patience, eventType == heartbeat)
		if err != nil {
			s.tb.Fatalf("ssetest: waiting for an event of type %q (Patience is %v): %v; skipped %q", eventType, s.Patience, err, skipped)
		}
		if e.Type == eventType {
			return e
		}
		skipped = append(skipped, e.Type)
	}
}

// Collect returns the next n events of a type and skips others. It ends the test as [Stream.Next]
// does.
func (s *Stream) Collect(eventType string, n int) []Event {
	s.tb.Helper()
	events := make([]Event, n)
	for i := range events {
		events[i] = s.NextOf(eventType)
	}
	return events
}

// errNone is the error of TryNext when its time is up.
var errNone = errors.New("no event arrived in time")

// TryNext returns the next event that is not a heartbeat. It returns an error if the stream has
// ended, [io.EOF] for a clean end, or if no event arrives within d.
func (s *Stream) TryNext(d time.Duration) (Event, error) { return s.tryNext(d, false) }

func (s *Stream) tryNext(d time.Duration, heartbeats bool) (Event, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for late := false; ; {
		s.mu.Lock()
		for len(s.queue) > 0 {
			e := s.queue[0]
			s.queue = s.queue[1:]
			if e.Type != heartbeat || heartbeats {
				s.mu.Unlock()
				return e, nil
			}
		}
		err := s.err
		s.mu.Unlock()
		switch {
		case err != nil:
			return Event{}, err
		case late:
			return Event{}, errNone
		}
		select {
		case <-s.news:
		case <-timer.C:
			late = true // an event may have arrived at the same time
		}
	}
}

// WaitEnd waits for the stream to end. It returns the events that were not returned before, without
// heartbeats, and the error that ended the stream: nil for a clean end.
func (s *Stream) WaitEnd() ([]Event, error) {
	s.tb.Helper()
	timer := time.NewTimer(s.Patience)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
		s.tb.Fatalf("ssetest: the stream did not end (Patience is %v)", s.Patience)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := slices.DeleteFunc(s.queue, func(e Event) bool { return e.Type == heartbeat })
	s.queue = nil
	if errors.Is(s.err, io.EOF) && !errors.Is(s.err, io.ErrUnexpectedEOF) {
		return rest, nil
	}
	return rest, s.err
}

// LastEventID returns the ID that a client would send to resume, as of the last block that was
// read.
func (s *Stream) LastEventID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// ReconnectionTime returns the last reconnection time that the stream has set; 0 if none.
func (s *Stream) ReconnectionTime() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retry
}

// Comments returns the text of the comments so far, without the colon and one space.
func (s *Stream) Comments() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.notes...)
}

// Heartbeats returns how many heartbeats have arrived, as events or as comments.
func (s *Stream) Heartbeats() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.heartbeats
	for _, comment := range s.notes {
		if comment == "heartbeat" {
			n++
		}
	}
	return n
}

// Close closes the connection, like a client that disconnects, and waits until reading has ended.
// It may be called more than once.
func (s *Stream) Close() {
	s.cancel()
	<-s.done
	_ = s.Response.Body.Close()
}
