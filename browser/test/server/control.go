package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// control makes a handler of a control. Its parameters come as JSON; a field that the control does
// not know is an error.
func control[Parameters, Result any](do func(ctx context.Context, p Parameters) (Result, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		var p Parameters
		decoder := json.NewDecoder(c.Request.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&p); err != nil {
			c.String(http.StatusBadRequest, "%v", err)
			return
		}
		result, err := do(c.Request.Context(), p)
		if err != nil {
			c.String(http.StatusUnprocessableEntity, "%v", err)
			return
		}
		c.JSON(http.StatusOK, result)
	}
}

// none is the parameters or the result of a control that has none.
type none struct{}

type sending struct {
	User  string `json:"user"`  // the receiver;
	Topic string `json:"topic"` // or the topic; without both, everybody
	Type  string `json:"type"`
	// Data is sent as it is if it is a string, and otherwise as JSON.
	Data any `json:"data"`
	// Count is how many events are sent. If it is set, Data is an object or missing, and each event
	// has its number as the field "n" of its data, from First on.
	Count    int `json:"count"`
	First    int `json:"first"`
	Interval int `json:"interval"` // between events, in milliseconds
}

// sent is the result of sending.
type sent struct {
	ID      string `json:"id"`      // of the last event
	Streams int    `json:"streams"` // which read it
}

// send answers when the log has all events.
func (s *server) send(ctx context.Context, p sending) (result sent, err error) {
	if p.Count == 0 {
		return s.sendOne(ctx, p, p.Data)
	}
	data := make(map[string]any)
	if p.Data != nil {
		object, ok := p.Data.(map[string]any)
		if !ok {
			return sent{}, errors.New("with count, data must be an object")
		}
		maps.Copy(data, object)
	}
	for i := range p.Count {
		if i > 0 && p.Interval > 0 {
			select {
			case <-time.After(time.Duration(p.Interval) * time.Millisecond):
			case <-ctx.Done():
				return result, context.Cause(ctx)
			}
		}
		data["n"] = p.First + i
		if result, err = s.sendOne(ctx, p, data); err != nil {
			return result, err
		}
	}
	return result, nil
}

func (s *server) sendOne(ctx context.Context, p sending, data any) (sent, error) {
	event := ginsse.Event{Type: p.Type, Data: data}
	registry := s.current()
	var receipt ginsse.Receipt
	var err error
	switch {
	case p.User != "":
		receipt, err = registry.SendTo(ctx, p.User, event)
	case p.Topic != "":
		receipt, err = registry.Publish(ctx, p.Topic, event)
	default:
		receipt, err = registry.Broadcast(ctx, event)
	}
	if errors.Is(err, ginsse.ErrClosed) && registry != s.current() { // restarted meanwhile
		return s.sendOne(ctx, p, data)
	}
	return sent{receipt.ID, receipt.Streams}, err
}

type disconnection struct {
	User   string `json:"user"`
	Reason string `json:"reason"`
}

func (s *server) disconnect(ctx context.Context, p disconnection) (none, error) {
	_, err := s.current().Disconnect(ctx, p.User, ginsse.Reason(p.Reason))
	return none{}, err
}

// affected is how many streams or connections a control has changed.
type affected struct {
	Count int `json:"count"`
}

// drop resets all connections that carry a stream.
func (s *server) drop(context.Context, none) (affected, error) {
	conns := s.streamConnections()
	for _, conn := range conns {
		conn.reset()
	}
	return affected{len(conns)}, nil
}

func (s *server) streamConnections() (found []*connection) {
	for _, site := range s.sites {
		found = append(found, site.connections().withStreams()...)
	}
	return found
}

type freezing struct {
	// For is how long nothing is written, in milliseconds. What was held back is written with the
	// next heartbeat. With 0 nothing is ever written.
	For int `json:"for"`
	// Connections freezes the connections that carry the streams. On HTTP/2 that includes the
	// other requests of the browser. Otherwise only the streams freeze.
	Connections bool `json:"connections"`
}

// freeze leaves all open streams open, but writes nothing to them, as on a network that has
// stopped. Streams that are opened later are not affected.
func (s *server) freeze(_ context.Context, p freezing) (affected, error) {
	var gates []*gate
	if p.Connections {
		for _, conn := range s.streamConnections() {
			gates = append(gates, &conn.gate)
		}
	} else {
		for _, open := range s.streams.list().Open {
			gates = append(gates, &open.response.gate)
		}
	}
	for _, g := range gates {
		g.freeze(time.Duration(p.For) * time.Millisecond)
	}
	return affected{len(gates)}, nil
}

// setRefusal refuses the next requests for the event stream.
func (s *server) setRefusal(_ context.Context, p refusal) (none, error) {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	s.streams.refusal = p
	return none{}, nil
}

// setControlRefusal refuses the next requests that change a stream.
func (s *server) setControlRefusal(_ context.Context, p refusal) (none, error) {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	s.streams.controlRefusal = p
	return none{}, nil
}

type topicOf struct {
	User  string `json:"user"`
	Topic string `json:"topic"`
}

func (s *server) grant(ctx context.Context, p topicOf) (none, error) {
	return none{}, s.current().Grant(ctx, p.User, p.Topic)
}

func (s *server) revoke(ctx context.Context, p topicOf) (none, error) {
	return none{}, s.current().Revoke(ctx, p.User, p.Topic)
}

type restarting struct {
	NewLog bool `json:"newLog"` // loses all events, and so clients cannot resume
}

// restart shuts the registry down, as a deploy does, after another has taken its place.
func (s *server) restart(ctx context.Context, p restarting) (none, error) {
	before, err := s.renewRegistry(p.NewLog)
	if err != nil {
		return none{}, err
	}
	return none{}, before.Shutdown(ctx)
}

type siteName struct {
	Name string `json:"name"` // http, https or upstream
}

func (s *server) site(name string) (*site, error) {
	if site, ok := s.sites[name]; ok && name != controlSite {
		return site, nil
	}
	return nil, fmt.Errorf("there is no %q to stop or start", name)
}

// stop closes an address: connections to it are refused, and open ones are closed.
func (s *server) stop(_ context.Context, p siteName) (none, error) {
	site, err := s.site(p.Name)
	if err == nil {
		site.stop()
	}
	return none{}, err
}

// start opens an address again.
func (s *server) start(ctx context.Context, p siteName) (none, error) {
	site, err := s.site(p.Name)
	if err != nil {
		return none{}, err
	}
	return none{}, site.start(ctx)
}

// streamList is what a test can know about the streams.
type streamList struct {
	Open     []*openStream `json:"open"`     // oldest first
	Most     int           `json:"most"`     // most that were open at the same time
	Opened   uint64        `json:"opened"`   // since the start
	Attempts int           `json:"attempts"` // requests since the start, also those that were refused
	Last     *request      `json:"last"`     // the newest request; null before the first

	Controls []json.RawMessage `json:"controls"` // the bodies of all requests that change a stream
}

type listing struct {
	ResetMost bool `json:"resetMost"` // counts Most anew from now on
}

func (s *server) listStreams(_ context.Context, p listing) (streamList, error) {
	list := s.streams.list()
	list.Opened = s.totalOpened()
	if p.ResetMost {
		s.streams.resetMost()
	}
	return list, nil
}

func (s *streams) list() streamList {
	s.mu.Lock()
	defer s.mu.Unlock()
	return streamList{Open: append([]*openStream{}, s.open...), Most: s.most, Attempts: s.attempts, Last: s.last, Controls: append([]json.RawMessage{}, s.controls...)}
}

func (s *streams) resetMost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = len(s.open)
}
