package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a broker, and connects to its last server.
func start(t *testing.T, servers int) (*Control, *nats.Conn) {
	t.Helper()
	c := new(Control)
	dir := t.TempDir()
	t.Cleanup(func() { c.stop() })
	var urls []string
	if err := c.Start(StartArgs{Servers: servers, Dir: dir}, &urls); err != nil {
		t.Fatal(err)
	}
	if len(urls) != servers {
		t.Fatalf("%d addresses for %d servers", len(urls), servers)
	}
	nc, err := nats.Connect(urls[servers-1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return c, nc
}

func TestTrafficCountsMessagesOfConnections(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprint(servers), func(t *testing.T) {
			t.Parallel()
			c, nc := start(t, servers)
			sub, err := nc.SubscribeSync("news")
			if err != nil {
				t.Fatal(err)
			}
			var before, after Traffic
			if err := c.Traffic(struct{}{}, &before); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := nc.Publish("news", make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
				if _, err := sub.NextMsg(10 * time.Second); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Traffic(struct{}{}, &after); err != nil {
				t.Fatal(err)
			}
			spent := after.Sub(before)
			if want := (Count{3, 300}); spent.In != want || spent.Out != want {
				t.Errorf("in %+v, out %+v, want %+v each", spent.In, spent.Out, want)
			}
			if (after.Routes.Msgs > 0) != (servers > 1) || spent.CPU <= 0 {
				t.Errorf("%+v", after)
			}
		})
	}
}

func TestTapCountsRequestsByKind(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprint(servers), func(t *testing.T) {
			t.Parallel()
			c, nc := start(t, servers)
			if err := c.Tap(true, new(map[string]int)); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := nc.Request("$JS.API.STREAM.INFO.NAMES", nil, 10*time.Second); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := nc.Request("$JS.API.INFO", nil, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			var traffic Traffic
			if err := c.Traffic(struct{}{}, &traffic); err != nil || traffic.In.Msgs != 4 || traffic.Out.Msgs != 4 {
				t.Errorf("the traffic includes the tap: %+v, %v", traffic, err)
			}
			var requests map[string]int
			if err := c.Tap(false, &requests); err != nil {
				t.Fatal(err)
			}
			if len(requests) != 2 || requests["STREAM.INFO"] != 3 || requests["INFO"] != 1 {
				t.Errorf("%v", requests)
			}
		})
	}
}
