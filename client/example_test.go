package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
)

// Alice's program receives her events until she signs out.
func Example() {
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	if err != nil {
		panic(err)
	}
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	quietly() // keeps gin's output out of the example's
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
	server := httptest.NewServer(r)
	defer server.Close()

	c, err := client.New(client.Config{
		URL:         server.URL + "/events",
		Header:      http.Header{"X-User": {"alice"}},
		RetryStatus: client.RetryTransient,
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	for event, err := range c.Events(ctx) {
		if closed := (*client.ClosedError)(nil); errors.As(err, &closed) {
			fmt.Println("closed:", closed.Reason)
			break
		}
		if err != nil {
			panic(err)
		}
		switch event.Type {
		case "sse.open":
			if _, err := registry.SendTo(ctx, "alice", ginsse.Event{Type: "comment", Data: gin.H{"by": "bob"}}); err != nil {
				panic(err)
			}
		case "sse.gap":
			// Events may be missing: reload the state.
		case "comment":
			var comment struct{ By string }
			if err := event.Unmarshal(&comment); err != nil {
				panic(err)
			}
			fmt.Println("comment by", comment.By)
			if _, err := registry.Disconnect(ctx, "alice", "signed out"); err != nil {
				panic(err)
			}
		}
	}

	// Output:
	// comment by bob
	// closed: signed out
}

// A program that restarts can store the last event ID, and so misses no event that the server still
// has.
func ExampleClient_Events_resume() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if r.Header.Get("Last-Event-ID") == "" {
			_, _ = io.WriteString(w, "id: 1\ndata: first\n\n")
		}
		_, _ = io.WriteString(w, "id: 2\ndata: second\n\n")
	}))
	defer server.Close()

	lastEventID := "" // for example from a file
	for range 2 {
		c, err := client.New(client.Config{URL: server.URL, LastEventID: lastEventID})
		if err != nil {
			panic(err)
		}
		for event, err := range c.Events(context.Background()) {
			if err != nil {
				panic(err)
			}
			fmt.Println(event.Data)
			break
		}
		lastEventID = c.LastEventID()
	}

	// Output:
	// first
	// second
}

// Each attempt can have its own token. Here the server ends the first stream, and by the second
// attempt the first token has expired.
func ExampleConfig_newRequest() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: hello, %s\n\n", r.Header.Get("Authorization"))
	}))
	defer server.Close()

	tokens := 0
	c, err := client.New(client.Config{
		NewRequest: func(ctx context.Context) (*http.Request, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
			if err != nil {
				return nil, err
			}
			tokens++ // get a new token, with ctx
			request.Header.Set("Authorization", fmt.Sprint("Bearer token-", tokens))
			return request, nil
		},
		ReconnectionTime: 10 * time.Millisecond,
	})
	if err != nil {
		panic(err)
	}
	for event, err := range c.Events(context.Background()) {
		if err != nil {
			panic(err)
		}
		fmt.Println(event.Data)
		if tokens == 2 {
			break
		}
	}

	// Output:
	// hello, Bearer token-1
	// hello, Bearer token-2
}

// A stream that answers one request is read once, without reconnecting.
func ExampleConfig_noReconnect() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: Forty\n\ndata: -two\n\n")
	}))
	defer server.Close()

	c, err := client.New(client.Config{URL: server.URL, NoReconnect: true})
	if err != nil {
		panic(err)
	}
	for event, err := range c.Events(context.Background()) {
		if err != nil {
			panic(err) // the answer is incomplete
		}
		fmt.Print(event.Data)
	}
	fmt.Println()

	// Output:
	// Forty-two
}
