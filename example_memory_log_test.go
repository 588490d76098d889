package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// A log in memory has limits on events per user, on their age, and on its size. A client that was
// disconnected for longer gets sse.gap.
func ExampleNewMemoryLog() {
	log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{
		EventsPerSubject: 2,
		MaxAge:           10 * time.Minute,
		MaxBytes:         1 << 20,
	})
	if err != nil {
		panic(err)
	}
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log, MaxEventBytes: 4 << 20})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()

	ctx := context.Background()
	var ids []string
	for n := 1; n <= 4; n++ {
		receipt, err := registry.SendTo(ctx, "alice", ginsse.Event{Type: "n", Data: n})
		if err != nil {
			panic(err)
		}
		ids = append(ids, receipt.ID)
	}
	behindSecond := exampleOpen(server, "alice", ids[1])
	defer behindSecond.Close()
	behindSecond.print(2)
	behindFirst := exampleOpen(server, "alice", ids[0])
	defer behindFirst.Close()
	behindFirst.print(1)

	_, err = registry.SendTo(ctx, "alice", ginsse.Event{Data: strings.Repeat("x", 2<<20)})
	fmt.Println(errors.Is(err, ginsse.ErrEventTooLarge))

	// Output:
	// n 3
	// n 4
	// sse.gap {"reason":"trimmed"}
	// true
}
