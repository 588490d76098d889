// Package servers has the contestants: the kit in both of its modes, two loops written by hand, other libraries,
// and the floor, which is a lower bound for all. Each serves event streams at GET /events
// to users with a valid JWT, and sends events to one user or to all.
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
	Module string // module path of the library, or ""
	// About discloses its settings and what it does not do.
	About string
	// Replays says that a stream which reconnects gets the events that it missed.
	Replays bool
	New     func(Settings) (Server, error)
}

// Settings are what a scenario changes of a contestant's defaults.
type Settings struct {
	// Silent turns heartbeats off.
	Silent bool
	// Heartbeat is the interval of heartbeats; 0 is the kit's default, 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long a write may wait for a client that does not read. It is for
	// the kit and the contestants written by hand; 0 is 30 s, the kit's default, or 10 s.
	WriteTimeout time.Duration
	// Burst is how many events a reader may lag behind without losing one. It is for
	// contestants that by default have a short queue, and drop events or close the stream
	// when it is full. It is 0 if events are few: a long queue costs memory in each stream.
	Burst int
	// History is how many events a stream that reconnects may have missed; 0 is the
	// contestant's default.
	History int
	// SendBuffer is how many bytes the kernel may buffer for a client at the server
	// (SO_SNDBUF); 0 is the system's default, which may be megabytes.
	SendBuffer int
	// Broker is the address of a NATS server, through which the kit shares its log with
	// other nodes; "" is a log in memory.
	Broker   string
	Replicas int // of the log, with a Broker
	// LogBytes is the most that the kit's log keeps in memory; 0 is its default.
	LogBytes int
}

// Server is a running contestant.
type Server struct {
	// Serve serves connections until the process ends.
	Serve func(net.Listener) error
	// SendTo sends to one user, Broadcast to all. They must not keep the data, which the
	// caller changes after the call. Several goroutines may call those of the kit, and one
	// goroutine those of the others.
	SendTo    func(user string, data []byte) error
	Broadcast func(data []byte) error
}

// floorAbout is in this file because the floor itself is for Linux only.
const floorAbout = "Not a usable server, but the work that any server must do: one write(2) for each event and stream, one after another, " +
	"without an HTTP library. It has IDs, and a heartbeat every 15 s. It has no queue, no replay and no write deadline: a client that stops " +
	"reading stops the server."

// All lists the contestants, in the order in which they run in the first round.
var All = []Contestant{
	{Name: "ginsse", Kind: report.Kit, Module: kitModule, Replays: true, About: kitAbout, New: newKit},
	{Name: Compact, Kind: report.Kit, Module: kitModule, Replays: true, About: compactAbout, New: newCompact},
	{Name: "c.Stream by hand", Kind: report.Hand, About: ginAbout, New: newGin},
	{Name: "net/http by hand", Kind: report.Hand, About: netHTTPAbout, New: newNetHTTP},
	{Name: "tmaxmax/go-sse", Kind: report.Peer, Module: "github.com/tmaxmax/go-sse", Replays: true, About: tmaxmaxAbout, New: newTmaxmax},
	{Name: "r3labs/sse", Kind: report.Peer, Module: "github.com/r3labs/sse/v2", Replays: true, About: r3labsAbout, New: newR3labs},
	{Name: "alexandrevicenzi/go-sse", Kind: report.Peer, Module: "github.com/alexandrevicenzi/go-sse", About: alexandrevicenziAbout, New: newAlexandrevicenzi},
	{Name: "launchdarkly/eventsource", Kind: report.Peer, Module: "github.com/launchdarkly/eventsource", Replays: true, About: launchdarklyAbout, New: newLaunchdarkly},
	{Name: "floor", Kind: report.Floor, About: floorAbout, New: newFloor},
}

// ByName returns the contestant with a name.
func ByName(name string) (Contestant, error) {
	for _, c := range All {
		if c.Name == name {
			return c, nil
		}
	}
	return Contestant{}, fmt.Errorf("there is no contestant %q", name)
}

// Secret is the key that signs tokens.
var Secret = []byte("a secret of the benchmarks, 32 bytes")

// UserName returns the ID of the i-th user.
func UserName(i int) string { return fmt.Sprintf("user-%d", i) }

// Token returns a valid JWT of a user.
func Token(user string) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user,
		"exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(Secret)
}

var parser = jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())

// userOf verifies a token as a careful application would, and returns its user.
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

// channelAll is the channel for broadcasts, in libraries that have only channels. Their
// streams read one channel: this one, or that of their user.
const channelAll = "all"

// AllQuery is the query of a client that wants broadcasts. The kit and the contestants
// written by hand send broadcasts without it.
const AllQuery = "?all=1"
