package servers_test

import (
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// Contestants serve until their process ends, and most have goroutines that run as long.
// So the tests of this package do not check for leaked goroutines.

// start starts a contestant on the loopback interface. It has heartbeats only if the
// settings have an interval.
func start(t *testing.T, c servers.Contestant, settings servers.Settings) (s servers.Server, addr string) {
	t.Helper()
	return startOn(t, c, settings, func(l net.Listener) net.Listener { return l })
}

// startOn is start with a wrapper around the listener.
func startOn(t *testing.T, c servers.Contestant, settings servers.Settings, through func(net.Listener) net.Listener) (s servers.Server, addr string) {
	t.Helper()
	if c.Kind == report.Floor && runtime.GOOS != "linux" {
		t.Skip("it is written for Linux")
	}
	settings.Silent = settings.Heartbeat == 0
	s, err := c.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(through(listener)) }()
	t.Cleanup(func() {
		_ = listener.Close()
		<-served
	})
	return s, listener.Addr().String()
}

// each runs a test for each contestant, one after another, because two of them set gin's
// mode.
func each(t *testing.T, test func(t *testing.T, c servers.Contestant)) {
	for _, c := range servers.All {
		t.Run(strings.NewReplacer("/", "_", " ", "_").Replace(c.Name), func(t *testing.T) { test(t, c) })
	}
}

// credential returns a value of the Authorization header, with a signed token.
func credential(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token
}

func TestContestantsRejectRequestsWithoutValidToken(t *testing.T) {
	soon, past := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	valid := credential(t, jwt.SigningMethodHS256, servers.Secret, jwt.MapClaims{"sub": "user-0", "exp": soon})
	credentials := map[string]string{
		"none":            "",
		"not_bearer":      strings.Replace(valid, "Bearer", "Basic", 1),
		"not_a_token":     "Bearer x",
		"changed":         valid[:len(valid)-4] + "AAAA",
		"other_key":       credential(t, jwt.SigningMethodHS256, []byte("a secret of somebody else, 32 bytes"), jwt.MapClaims{"sub": "user-0", "exp": soon}),
		"other_algorithm": credential(t, jwt.SigningMethodHS512, servers.Secret, jwt.MapClaims{"sub": "user-0", "exp": soon}),
		"no_algorithm":    credential(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"sub": "user-0", "exp": soon}),
		"expired":         credential(t, jwt.SigningMethodHS256, servers.Secret, jwt.MapClaims{"sub": "user-0", "exp": past}),
		"no_expiry":       credential(t, jwt.SigningMethodHS256, servers.Secret, jwt.MapClaims{"sub": "user-0"}),
		"no_user":         credential(t, jwt.SigningMethodHS256, servers.Secret, jwt.MapClaims{"exp": soon}),
	}
	each(t, func(t *testing.T, c servers.Contestant) {
		_, addr := start(t, c, servers.Settings{})
		for name, credential := range credentials {
			for _, query := range []string{"", servers.AllQuery} {
				_, response, err := request(t, addr, query, credential, "")
				switch {
				case c.Kind == report.Floor && err != nil: // it closes the connection
				case err != nil:
					t.Errorf("%s%s: %v", name, query, err)
				case response.StatusCode != http.StatusUnauthorized:
					t.Errorf("%s%s: the status is %s", name, query, response.Status)
				}
			}
		}
		if _, response, err := request(t, addr, "", valid, ""); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("with a valid token: %+v, %v", response, err)
		}
	})
}

func TestContestantsSendEventsInOrder(t *testing.T) {
	each(t, func(t *testing.T, c servers.Contestant) {
		s, addr := start(t, c, servers.Settings{})
		reader := open(t, addr, servers.AllQuery, "user-0", "")
		if got := reader.header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
			t.Errorf("the content type is %q", got)
		}
		reader.awaitSubscription(s.Broadcast)
		out := sender{t: t}
		for i := range 50 {
			out.send(s.Broadcast, i)
		}
		for i := range 50 {
			reader.want(i)
		}
	})
}

func TestContestantsSendToOneUser(t *testing.T) {
	each(t, func(t *testing.T, c servers.Contestant) {
		s, addr := start(t, c, servers.Settings{})
		to := func(user string) func([]byte) error {
			return func(data []byte) error { return s.SendTo(user, data) }
		}
		zero, one := open(t, addr, "", "user-0", ""), open(t, addr, "", "user-1", "")
		zero.awaitSubscription(to("user-0"))
		one.awaitSubscription(to("user-1"))
		// An event that went to the wrong user would come before the others.
		out := sender{t: t}
		for i := range 10 {
			out.send(to("user-0"), i)
			out.send(to("user-1"), 100+i)
		}
		for i := range 10 {
			zero.want(i)
			one.want(100 + i)
		}
	})
}

func TestContestantsBroadcastToAllStreams(t *testing.T) {
	each(t, func(t *testing.T, c servers.Contestant) {
		if raceDetector && c.Name == "alexandrevicenzi/go-sse" {
			t.Skip("its streams write to the message that they share")
		}
		s, addr := start(t, c, servers.Settings{})
		readers := []*client{
			open(t, addr, servers.AllQuery, "user-0", ""),
			open(t, addr, servers.AllQuery, "user-1", ""),
			open(t, addr, servers.AllQuery, "user-1", ""), // a second stream of the user
		}
		if c.Kind != report.Peer {
			readers = append(readers, open(t, addr, "", "user-2", "")) // without the query
		}
		for _, reader := range readers {
			reader.awaitSubscription(s.Broadcast)
		}
		out := sender{t: t}
		for i := range 20 {
			out.send(s.Broadcast, i)
		}
		for _, reader := range readers {
			for i := range 20 {
				reader.want(i)
			}
		}
	})
}

func TestContestantsReplayMissedEvents(t *testing.T) {
	each(t, func(t *testing.T, c servers.Contestant) {
		if !c.Replays {
			t.Skip("it does not replay")
		}
		s, addr := start(t, c, servers.Settings{History: 64})
		out := sender{t: t}
		reader := open(t, addr, servers.AllQuery, "user-0", "")
		reader.awaitSubscription(s.Broadcast)
		out.send(s.Broadcast, 0, 1, 2)
		last := reader.want(0, 1, 2)
		if last.id == "" {
			t.Fatal("the event has no ID to resume from")
		}
		reader.close()
		out.send(s.Broadcast, 3, 4, 5, 6, 7)
		reader = open(t, addr, servers.AllQuery, "user-0", last.id)
		first := reader.next()
		if first.number == last.number { // some repeat the last event
			first = reader.next()
		}
		if first.number != 3 {
			t.Fatalf("received %v first, after %v", first, last)
		}
		reader.want(4, 5, 6, 7)
		out.send(s.Broadcast, 8)
		reader.want(8)
	})
}

func TestContestantNamesAreUnique(t *testing.T) {
	for i, c := range servers.All {
		if found, err := servers.ByName(c.Name); err != nil || found.Module != c.Module {
			t.Errorf("%s: %+v, %v", c.Name, found, err)
		}
		for _, other := range servers.All[:i] {
			if other.Name == c.Name {
				t.Errorf("two contestants are called %q", c.Name)
			}
		}
	}
	if _, err := servers.ByName("nobody"); err == nil {
		t.Error("ByName finds a contestant that does not exist")
	}
}

func TestContestantsDiscloseTheirSettings(t *testing.T) {
	for _, c := range servers.All {
		if !strings.HasSuffix(c.About, ".") || strings.ContainsAny(c.About, "|\n") || strings.Contains(c.About, "  ") {
			t.Errorf("%s: %q is not valid in a table", c.Name, c.About)
		}
		for what, disclosed := range map[string]bool{
			"net/http":       c.Kind != report.Peer || strings.HasPrefix(c.About, "On net/http without gin, with a channel for each user"),
			"heartbeats":     strings.Contains(strings.ToLower(c.About), "heartbeat"),
			"write deadline": strings.Contains(c.About, "write deadline"),
			"replay":         c.Replays || strings.Contains(c.About, "o replay"),
		} {
			if !disclosed {
				t.Errorf("%s does not mention %s: %q", c.Name, what, c.About)
			}
		}
	}
}
