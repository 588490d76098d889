package client

import (
	"encoding/json"
	"math"
	"strings"
	"time"
)

// The kit's own events on the streams of a registry. All begin with ownPrefix.
const (
	ownPrefix      = "sse."
	openEvent      = "sse.open"
	gapEvent       = "sse.gap"
	heartbeatEvent = "sse.heartbeat"
	reconnectEvent = "sse.reconnect"
	closeEvent     = "sse.close"

	// doneID is the last event ID with which the kit completes a stream of one request. The kit
	// answers a request with this Last-Event-ID with 204.
	doneID = "sse.done"
)

// If the server names its heartbeat interval, the idle timeout is idleHeartbeats intervals, within
// these bounds. Several intervals leave time for a packet that is lost and sent again.
const (
	idleHeartbeats = 3
	leastIdle      = time.Second
	mostIdle       = time.Hour
)

// isOwn reports whether an event is the kit's own.
func isOwn(event Event) bool { return strings.HasPrefix(event.Type, ownPrefix) }

// isHeartbeat reports whether an event is the kit's heartbeat. An event of that type with data is
// not one: the application may want the data.
func isHeartbeat(event Event) bool { return event.Type == heartbeatEvent && event.Data == "" }

// idleTimeoutFrom returns the idle timeout that follows from an sse.open; 0 if there is none.
func idleTimeoutFrom(event Event) time.Duration {
	if event.Type != openEvent {
		return 0
	}
	var data struct {
		Heartbeat int64 `json:"heartbeat"`
	}
	if err := json.Unmarshal([]byte(event.Data), &data); err != nil || data.Heartbeat <= 0 {
		return 0
	}
	return min(max(idleHeartbeats*milliseconds(data.Heartbeat), leastIdle), mostIdle)
}

// endFrom returns the error with which an event ends its connection; nil if it does not end it.
// reconnectionTime is used for a reconnect without a time of its own.
func endFrom(event Event, reconnectionTime time.Duration) error {
	if event.Type != closeEvent && event.Type != reconnectEvent {
		return nil
	}
	var data struct {
		Reason string `json:"reason"`
		Retry  *int64 `json:"retry"`
	}
	_ = json.Unmarshal([]byte(event.Data), &data) // the event type is enough
	if event.Type == closeEvent {
		return finalError{&ClosedError{Reason: data.Reason}}
	}
	end := &ReconnectError{Reason: data.Reason, Retry: reconnectionTime}
	if data.Retry != nil && *data.Retry >= 0 {
		end.Retry = milliseconds(*data.Retry)
	}
	return end
}

// milliseconds returns n ms, at most a third of the largest duration, so that the result can be
// multiplied by idleHeartbeats.
func milliseconds(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/idleHeartbeats/int64(time.Millisecond))) * time.Millisecond
}
