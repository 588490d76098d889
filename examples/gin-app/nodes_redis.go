package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/redislog"
)

// redisLog is an event log in Redis, for several processes of the application that share one database.
type redisLog struct {
	*redislog.Log

	client *redis.Client
}

// errRedisAddress does not have the error of go-redis, which may show parts of a password.
var errRedisAddress = errors.New("the URL of -redis is not valid; it is like redis://user@host:6379/0")

// openRedis opens the log in the Redis at an address.
func openRedis(ctx context.Context, address, database string, logger *slog.Logger) (*redisLog, error) {
	if database == inMemory {
		return nil, errors.New("-redis needs a database that other processes can open: choose a file with -db")
	}
	options, err := redis.ParseURL(address)
	if err != nil {
		return nil, errRedisAddress
	}
	client := redis.NewClient(options)
	log, err := redislog.Open(ctx, client, redislog.Config{Prefix: "{gin-app}:", Logger: logger})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the event log in the Redis of -redis: %w", err), client.Close())
	}
	return &redisLog{log, client}, nil
}

// Close ends the log and disconnects from Redis.
func (l *redisLog) Close() error { return errors.Join(l.Log.Close(), l.client.Close()) }
