package client

import (
	"encoding/json"
	"math"
	"strings"
	"time"
)

// The kit's own events, which the streams of a registry carry beside the
// application's. They all begin with ownPrefix.
const (
	ownPrefix      = "sse."
	openEvent      = "sse.open"
	gapEvent       = "sse.gap"
	heartbeatEvent = "sse.heartbeat"
	reconnectEvent = "sse.reconnect"
	closeEvent     = "sse.close"

	// doneID is the last event ID with which the kit ends a stream of one request. A
	// request that has it as Last-Event-ID is answered with 204.
	doneID = "sse.done"
)

// The idle timeout for a server that names its heartbeat interval is idleHeartbeats of
// them, within these bounds: a packet that is lost and sent again takes its time.
const (
	idleHeartbeats = 3
	leastIdle      = time.Second
	mostIdle       = time.Hour
)

// isOwn reports whether an event is the kit's own.
func isOwn(event Event) bool { return strings.HasPrefix(event.Type, ownPrefix) }

// isHeartbeat reports whether an event is the kit's heartbeat. With data it is not:
// then it says something that the application may want.
func isHeartbeat(event Event) bool { return event.Type == heartbeatEvent && event.Data == "" }

// idleTimeoutBy returns the idle timeout that an event asks for; 0 if it asks for none.
func idleTimeoutBy(event Event) time.Duration {
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

// endBy returns with what an event ends its connection; nil if it does not.
// reconnectionTime is for a reconnect without a time of its own.
func endBy(event Event, reconnectionTime time.Duration) error {
	if event.Type != closeEvent && event.Type != reconnectEvent {
		return nil
	}
	var data struct {
		Reason string `json:"reason"`
		Retry  *int64 `json:"retry"`
	}
	_ = json.Unmarshal([]byte(event.Data), &data) // the type says enough
	if event.Type == closeEvent {
		return finalError{&ClosedError{Reason: data.Reason}}
	}
	end := &ReconnectError{Reason: data.Reason, Retry: reconnectionTime}
	if data.Retry != nil && *data.Retry >= 0 {
		end.Retry = milliseconds(*data.Retry)
	}
	return end
}

// milliseconds returns a duration that is a third of the largest at most, so that it can
// be multiplied by idleHeartbeats.
func milliseconds(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/idleHeartbeats/int64(time.Millisecond))) * time.Millisecond
}
