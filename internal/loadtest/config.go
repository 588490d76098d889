// Package loadtest measures a server of event streams under load. It opens many streams from one
// process, reads them with one goroutine each, and checks what arrives. It can send numbered events
// through the server's own interface, and find them in the streams.
//
// A stream is a connection of its own, with HTTP/1.1. Memory: a stream takes 18 KB without TLS, among
// it the stack of its goroutine and a read buffer of 2 KiB; see docs/sizing.md. With Send it takes 56
// bytes more for each source of events, which are at most Parallel, and up to 1 KB for each of these
// where events are missing. A stream that receives a large event in pieces holds up to 64 KiB of it
// meanwhile.
//
// Start reading with run.go, then stream.go, check.go and send.go. [Histogram] and [Lines] are shared
// with the benchmarks.
package loadtest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Config says what [Run] does. There are no defaults: the command has them.
type Config struct {
	// URL is the address of the streams. All connections go there: no redirect is followed, and no
	// proxy is used.
	URL *url.URL
	// Header is sent with the request of each stream.
	Header http.Header
	// Users are those that the streams belong to, in turn. Without any, all streams send Header alone.
	Users []User
	// Streams is the number of streams, and Rate how many are started per second.
	Streams int
	Rate    float64
	// For is the duration after the streams were opened; 0 is no limit.
	For time.Duration
	// Events ends the run before: with Send after so many events were sent, else after each open
	// stream has received so many. 0 is no limit.
	Events int
	// Settle is how long Run waits for events that are missing at the end.
	Settle time.Duration
	// Send says what is sent; nil for nothing.
	Send *Send
	// Dial connects to the server.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is for https.
	TLS *tls.Config
	// Progress is called once a second from a goroutine of Run; nil for never.
	Progress func(Progress)
}

// User has the credential of a user's streams.
type User struct {
	Token string // for "Authorization: Bearer"; "" for none
	Name  string // what stands for {{.User}}; may be empty
}

// Send says which events are sent, with a POST for each.
type Send struct {
	// URL, Header and Body may contain placeholders; see [Placeholders]. Body must contain {{.Mark}}.
	// If one contains {{.User}}, the events go to the users in turn, and a stream must get those of
	// its own user and no others.
	URL    string
	Header http.Header
	Body   string
	// Type is the type of the events that are looked for, if a request makes several events with the
	// mark; "" for any.
	Type string
	// Rate is how many events are sent per second, at most Parallel at the same time. Events that are
	// sent at the same time may arrive in any order.
	Rate     float64
	Parallel int
	// Client sends them. It must not follow redirects.
	Client *http.Client
}

// Progress is the state of a run.
type Progress struct {
	Elapsed    time.Duration
	Open       int // streams
	Events     int // that have arrived
	Sent       int
	Reconnects int
	Errors     int
	Latency    Histogram // from send to arrival, so far
}
