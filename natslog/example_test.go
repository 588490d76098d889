package natslog_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/natslog"
)

// Two nodes of an application share a log. An event that is sent on one is read on the other.
func Example() {
	ctx := context.Background()
	url, stop := exampleServer()
	defer stop()

	var nodes [2]*natslog.Log
	for i := range nodes {
		nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.FlusherTimeout(2*time.Second))
		if err != nil {
			fmt.Println(err)
			return
		}
		defer nc.Close()
		if nodes[i], err = natslog.Open(ctx, nc, natslog.Config{}); err != nil {
			fmt.Println(err)
			return
		}
		defer nodes[i].Close()
	}

	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: nodes[0]})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registry.Close()

	news := make(chan string, 1)
	defer nodes[1].Watch(func(subject string, _ uint64) { news <- subject })()
	if _, err := registry.SendTo(ctx, "alice", ginsse.Event{Type: "comment", Data: "Nice!"}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-news, nodes[1].Ready())
	// Output: user:alice <nil>
}

// exampleServer runs a broker.
func exampleServer() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "natslog")
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		panic(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		panic("the server does not start")
	}
	return s.ClientURL(), func() {
		stopServer(s)
		_ = os.RemoveAll(dir)
	}
}
