package redislog_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/redislog"
)

// Each node of an application opens the log in the same Redis.
func Example() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer client.Close()
	log, err := redislog.Open(ctx, client, redislog.Config{Logger: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registry.Close()

	// Alice gets it in every tab, on whichever node.
	if _, err := registry.SendTo(ctx, "alice", ginsse.Event{Type: "comment", Data: "Nice!"}); err != nil {
		fmt.Println(err)
	}
}

// With Sentinel, and with two replicas that have each event before Append returns.
func ExampleOpen_sentinel() {
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "events", SentinelAddrs: []string{"sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"},
	})
	defer client.Close()
	log, err := redislog.Open(context.Background(), client, redislog.Config{Wait: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
}

// The number of likes and the event that tells the author are in one transaction.
func ExampleLog_Tx() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer client.Close()
	log, err := redislog.Open(ctx, client, redislog.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registry.Close()

	_, err = client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Incr(ctx, "likes:post-17")
		return registry.In(log.Tx(pipe)).SendTo(ctx, "alice", ginsse.Event{Type: "like", Data: "post-17"})
	})
	if err != nil {
		fmt.Println(err)
	}
}
