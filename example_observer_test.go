package ginsse_test

import (
	"context"
	"fmt"

	"github.com/ginsse/ginsse"
)

// An observer is told what happens. Here it prints how streams open and end.
func ExampleObserver() {
	ended := make(chan struct{})
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
		Observers: []*ginsse.Observer{{
			Opened: func(s *ginsse.Stream, o ginsse.Opening) {
				fmt.Println(s.UserID(), "opened, resume:", o.Resume)
			},
			Ended: func(s *ginsse.Stream, e ginsse.Ending) {
				fmt.Println(s.UserID(), "ended:", string(e.Reason), "- events:", e.Events)
				close(ended)
			},
		}},
	})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()

	alice := exampleOpen(server, "alice", "")
	if _, err := registry.SendTo(context.Background(), "alice", ginsse.Event{Type: "comment", Data: "nice"}); err != nil {
		panic(err)
	}
	alice.print(1)
	if err := alice.Close(); err != nil {
		panic(err)
	}
	<-ended

	// Output:
	// alice opened, resume: none
	// comment nice
	// alice ended: client gone - events: 1
}
