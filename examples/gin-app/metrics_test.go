package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/internal/freeport"
)

// freeAddress returns an address of loopback on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address.String()
}

// The metrics are on an address of their own, which ends with the program.
func TestMetricsAreServedApart(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	p := newProcess(t, "127.0.0.1:0", inMemory, "-metrics", address)
	alice, bob := p.visitor("alice"), p.visitor("bob")
	stream := alice.open("/events")
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"hello"})
	stream.NextOf("comment")

	scraper := &visitor{t: t, url: "http://" + address, client: alice.client}
	metrics := string(scraper.want(http.StatusOK, "GET", "/metrics", nil).body)
	for _, line := range []string{
		`ginsse_streams{mode="handler"} 1`, "ginsse_users 1", `ginsse_streams_opened_total{resume="none"} 1`,
		"ginsse_log_ready 1", "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(metrics, "\n"+line) {
			t.Errorf("there is no line %s", line)
		}
	}
	alice.want(http.StatusNotFound, "GET", "/metrics", nil)
	scraper.want(http.StatusNotFound, "GET", "/api/demo", nil)

	p.stop()
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Error("metrics are served after the end")
	}
}

func TestRunRefusesAnAddressOfMetricsThatIsTaken(t *testing.T) {
	t.Parallel()
	first := newProcess(t, "127.0.0.1:0", inMemory)
	args := []string{"-addr", freeAddress(t), "-db", inMemory, "-metrics", first.addr}
	if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "choose another address with -metrics") {
		t.Errorf("error is %v", err)
	}
	newProcess(t, args[1], inMemory) // the address is free again
}
