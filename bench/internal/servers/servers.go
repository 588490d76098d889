// Package servers holds the contestants: the kit, what one would write by hand,
// the libraries one would use instead, and the floor under all of them. Each
// serves GET /events with event streams for people who show a JWT, and sends to
// one of them or to all.
package servers

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse/bench/internal/report"
)

// Contestant is one way to serve event streams.
type Contestant struct {
	Name   string
	Kind   report.Kind
	Module string // path of the library; "" if there is none
	// About discloses its settings and what it does not do, for readers of its figures.
	About string
	// Replays says that a stream that comes back gets what it missed.
	Replays bool
	New     func(Settings) (Server, error)
}

// Settings are what a scenario asks of a contestant beyond its own defaults.
type Settings struct {
	// Silent turns heartbeats off, for contestants that have them.
	Silent bool
	// Heartbeat is the interval of those that have one; 0 is the kit's default, 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long a write may wait for a client that does not read, of
	// those written by hand and of the kit; 0 is 10 s and the kit's default, 30 s.
	WriteTimeout time.Duration
	// Burst is how many events a reader may fall behind without losing one. It is
	// for contestants whose default is a short queue that drops or cuts, and is 0
	// where events are few: a long queue costs memory in every stream.
	Burst int
	// History is how many events a stream that comes back may have missed; 0 is
	// the contestant's default.
	History int
	// SendBuffer is what the kernel may hold for a client that does not read, SO_SNDBUF
	// in bytes; 0 is the system's, which may be megabytes.
	SendBuffer int
	// Broker is the address of a NATS server through which the kit shares its log with
	// other nodes, in so many replicas; "" is a log in memory.
	Broker   string
	Replicas int
	// LogBytes bounds what the kit's log holds in memory; 0 is its default.
	LogBytes int
}

// Server is a contestant at work.
type Server struct {
	// Serve serves the listener's connections until the process ends.
	Serve func(net.Listener) error
	// SendTo sends to one user, Broadcast to all. The data is the caller's and
	// changes after the call. One goroutine calls them, but for the kit's.
	SendTo    func(user string, data []byte) error
	Broadcast func(data []byte) error
}

// floorAbout is here, as the floor itself is written for Linux.
const floorAbout = "Not a server to use but what any must do: one write(2) for each event and stream, one after another, without an HTTP " +
	"library. IDs, and a heartbeat every 15 s; no queue, no replay and no write deadline: a client that has stopped reading stops everybody."

// All are the contestants, in the order in which they take their turns.
var All = []Contestant{
	{Name: "ginsse", Kind: report.Kit, Module: "github.com/ginsse/ginsse", Replays: true, About: kitAbout, New: newKit},
	{Name: "c.Stream by hand", Kind: report.Hand, About: ginAbout, New: newGin},
	{Name: "net/http by hand", Kind: report.Hand, About: netHTTPAbout, New: newNetHTTP},
	{Name: "tmaxmax/go-sse", Kind: report.Peer, Module: "github.com/tmaxmax/go-sse", Replays: true, About: tmaxmaxAbout, New: newTmaxmax},
	{Name: "r3labs/sse", Kind: report.Peer, Module: "github.com/r3labs/sse/v2", Replays: true, About: r3labsAbout, New: newR3labs},
	{Name: "alexandrevicenzi/go-sse", Kind: report.Peer, Module: "github.com/alexandrevicenzi/go-sse", About: alexandrevicenziAbout, New: newAlexandrevicenzi},
	{Name: "launchdarkly/eventsource", Kind: report.Peer, Module: "github.com/launchdarkly/eventsource", Replays: true, About: launchdarklyAbout, New: newLaunchdarkly},
	{Name: "floor", Kind: report.Floor, About: floorAbout, New: newFloor},
}

// ByName returns the contestant of a name.
func ByName(name string) (Contestant, error) {
	for _, c := range All {
		if c.Name == name {
			return c, nil
		}
	}
	return Contestant{}, fmt.Errorf("there is no contestant %q", name)
}

// Secret is what tokens are signed with.
var Secret = []byte("a secret of the benchmarks, 32 bytes")

// UserName is the ID of the i-th user.
func UserName(i int) string { return fmt.Sprintf("user-%d", i) }

// Token returns a credential of a user.
func Token(user string) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user,
		"exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(Secret)
}

var parser = jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())

// userOf is what a careful person writes by hand to verify a token.
func userOf(authorization string) (string, error) {
	const scheme = "Bearer "
	if len(authorization) < len(scheme) || authorization[:len(scheme)] != scheme {
		return "", errors.New("no bearer token")
	}
	claims := new(jwt.RegisteredClaims)
	_, err := parser.ParseWithClaims(authorization[len(scheme):], claims, func(*jwt.Token) (any, error) { return Secret, nil })
	if err != nil {
		return "", err
	}
	if claims.Subject == "" {
		return "", errors.New("no subject")
	}
	return claims.Subject, nil
}

// channelAll is the name under which libraries that know channels only are sent
// what is for all. Their streams read one channel: this one, or their user's.
const channelAll = "all"

// AllQuery is the query with which a client asks for what is for all. The kit and
// those written by hand do not need to be asked.
const AllQuery = "?all=1"
