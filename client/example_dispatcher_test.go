package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/ginsse/ginsse/client"
)

// Two parts of a program read one stream. Each gets its own event types, at its own speed.
func ExampleDispatcher() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "event: comment\ndata: {\"body\":\"Which tune?\"}\n\nevent: reaction\ndata: {\"kind\":\"like\"}\n\n")
	}))
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL, NoReconnect: true})
	if err != nil {
		panic(err)
	}
	dispatcher := client.NewDispatcher(c)
	var consumers sync.WaitGroup
	for _, eventType := range []string{"comment", "reaction"} {
		subscription, err := dispatcher.Subscribe(client.SubscribeConfig{Types: []string{eventType}})
		if err != nil {
			panic(err)
		}
		consumers.Go(func() {
			for event, err := range subscription.Events(context.Background()) {
				if err != nil { // for example a *client.SlowError
					panic(err)
				}
				fmt.Println(event.Type, event.Data)
			}
		})
	}
	if err := dispatcher.Run(context.Background()); err != nil {
		panic(err)
	}
	consumers.Wait()

	// Unordered output:
	// comment {"body":"Which tune?"}
	// reaction {"kind":"like"}
}
