package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

const (
	eventsPath  = "/events"
	controlPath = "/events/control"
)

// streams are the requests for the event stream.
type streams struct {
	mu       sync.Mutex // guards the fields below
	attempts int        // requests, also those that were refused
	most     int        // most streams that were open at the same time
	last     *request   // the newest request
	open     []*openStream
	refusal  refusal

	controls       []json.RawMessage // the bodies of all requests that change a stream
	controlRefusal refusal
}

// request is what a test can know about a request.
type request struct {
	Protocol    string      `json:"protocol"`
	Headers     http.Header `json:"headers"`
	Query       url.Values  `json:"query"`
	LastEventID string      `json:"lastEventId"` // of the header, else of the query
}

// openStream is a stream that is open now.
type openStream struct {
	User   string   `json:"user"`
	Topics []string `json:"topics"`
	request

	response *response
}

// refusal is the answer to the next requests for the event stream.
type refusal struct {
	Status      int    `json:"status"` // 0 closes the connection without an answer
	RetryAfter  string `json:"retryAfter"`
	ContentType string `json:"contentType"`
	Body        string `json:"body"`
	Delay       int    `json:"delay"` // before the answer, in milliseconds
	Times       int    `json:"times"` // requests; below 0 all
}

// take returns the refusal for a request, if it is to be refused.
func (s *streams) take(c *gin.Context) (refusal, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts++
	s.last = describe(c)
	return next(&s.refusal)
}

// takeControl is take for a request that changes a stream.
func (s *streams) takeControl(body []byte) (refusal, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.controls = append(s.controls, body)
	return next(&s.controlRefusal)
}

// next counts a request, and reports whether it is to be refused.
func next(r *refusal) (refusal, bool) {
	refused := r.Times != 0
	if r.Times > 0 {
		r.Times--
	}
	return *r, refused
}

func describe(c *gin.Context) *request {
	r := &request{
		Protocol:    c.Request.Proto,
		Headers:     c.Request.Header.Clone(),
		Query:       c.Request.URL.Query(),
		LastEventID: c.GetHeader("Last-Event-ID"),
	}
	if r.LastEventID == "" {
		r.LastEventID = c.Query("lastEventId")
	}
	return r
}

// refuse answers the request if /test/refuse has said so.
func (s *server) refuse(c *gin.Context) {
	if refusal, refused := s.streams.take(c); refused {
		refusal.answer(c)
	}
}

// refuseControl answers the request if /test/refuse-control has said so.
func (s *server) refuseControl(c *gin.Context) {
	body, _ := io.ReadAll(c.Request.Body)
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
	if refusal, refused := s.streams.takeControl(body); refused {
		refusal.answer(c)
	}
}

func (r refusal) answer(c *gin.Context) {
	if r.Delay > 0 {
		select {
		case <-time.After(time.Duration(r.Delay) * time.Millisecond):
		case <-c.Request.Context().Done():
		}
	}
	if r.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	if r.RetryAfter != "" {
		c.Header("Retry-After", r.RetryAfter)
	}
	if r.ContentType == "" {
		r.ContentType = "text/plain"
	}
	c.Data(r.Status, r.ContentType, []byte(r.Body))
	c.Abort()
}

// events serves the stream. It has the topics that the request names and that are allowed, and with
// ?state= a state.
func (s *server) events(c *gin.Context) {
	user := ginsse.UserID(c)
	topics := c.QueryArray("topic")
	response, _ := c.Request.Context().Value(responseKey{}).(*response)
	opened := &openStream{User: user, Topics: topics, request: *describe(c), response: response}
	s.streams.add(opened)
	defer s.streams.remove(opened)
	if conn, ok := c.Request.Context().Value(connKey{}).(*connection); ok {
		conn.streams.Add(1)
		defer conn.streams.Add(-1)
	}
	var options []ginsse.ServeOption
	if c.Query("state") != "" {
		options = append(options, ginsse.WithState(sendState))
	}
	_ = s.current().Serve(c, options...)
}

// sendState sends an event with the name of the topic.
func sendState(_ context.Context, state *ginsse.State) error {
	return state.Send(ginsse.Event{Type: "state", Data: state.Topic()})
}

// allowTopic allows all topics but those of others.
func allowTopic(_ *gin.Context, topic string) (bool, error) {
	return !strings.HasPrefix(topic, "private:"), nil
}

// change changes an open stream.
func (s *server) change(c *gin.Context) { s.current().ControlHandler()(c) }

func (s *streams) add(opened *openStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = append(s.open, opened)
	s.most = max(s.most, len(s.open))
}

func (s *streams) remove(opened *openStream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = slices.DeleteFunc(s.open, func(o *openStream) bool { return o == opened })
}

// responseKey is the context key of the response of a stream.
type responseKey struct{}

// response is a response that can be frozen. Unlike that of the connection, this leaves other
// requests on the same HTTP/2 connection alone.
type response struct {
	http.ResponseWriter

	gate gate
}

// Write is that of http.ResponseWriter.
func (r *response) Write(b []byte) (int, error) { return r.gate.Write(b) }

// Flush is that of http.Flusher. Writes are flushed already, so it matters to the header only.
func (r *response) Flush() { _ = r.FlushError() }

// FlushError is for http.ResponseController.
func (r *response) FlushError() error {
	_, err := r.gate.Write(nil)
	return err
}

// writeThrough writes past the gate. It always flushes.
func (r *response) writeThrough(b []byte) (int, error) {
	n, err := r.ResponseWriter.Write(b)
	if err == nil {
		err = http.NewResponseController(r.ResponseWriter).Flush()
	}
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// holdStreams lets the responses of next be frozen if they are event streams.
func (s *server) holdStreams(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == eventsPath {
			held := &response{ResponseWriter: w}
			held.gate.write = held.writeThrough
			r = r.WithContext(context.WithValue(r.Context(), responseKey{}, held))
			w = held
		}
		next.ServeHTTP(w, r)
	})
}
