// Command server is the server of the browser tests: a gin application with an event stream, and
// controls under /test/ with which it fails in the ways that servers and networks fail.
//
// It serves the same application at four addresses, which it prints as one line of JSON:
//
//	http      for pages, over HTTP/1.1
//	https     for pages, over HTTP/2 with a self-signed certificate
//	upstream  for a proxy
//	control   for the test, which may stop the other three
//
// It ends when its standard input does, so that it does not outlive the test.
//
// Start reading with the routes in server.go. control.go has the controls, events.go the event
// stream, and gate.go holds bytes back.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	if err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// run serves until stdin ends. It writes the addresses to stdout.
func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) (err error) {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	scripts := flags.String("scripts", "", "serve the files of this `folder`, such as ginsse.js; without it, ginsse.js is an empty module")
	heartbeat := flags.Duration("heartbeat", 300*time.Millisecond, "the heartbeat interval")
	retry := flags.Duration("retry", 100*time.Millisecond, "the reconnection time")
	perUser := flags.Int("streams-per-user", 16, "the most streams of one user")
	keep := flags.Int("keep", 100_000, "the most events kept for each user and topic")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := newServer(config{ //nolint:contextcheck // the linter takes handlers for calls
		Scripts: *scripts,
		Keep:    *keep,
		Registry: ginsse.RegistryConfig{
			Stream:            ginsse.StreamConfig{HeartbeatInterval: *heartbeat, ReconnectionTime: *retry},
			MaxStreamsPerUser: *perUser,
			MaxOpensPerMinute: -1, // tests reconnect often
			ShutdownWindow:    -1, // there is one node
			AllowTopicFunc:    allowTopic,
		},
	})
	if err != nil {
		return err
	}
	defer s.close()
	addresses := make(map[string]string)
	for _, name := range []string{"http", "https", "upstream", controlSite} {
		if err := s.sites[name].start(ctx); err != nil {
			return err
		}
		addresses[name] = s.sites[name].url()
	}
	if err := json.NewEncoder(stdout).Encode(addresses); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stdin)
	return err
}
