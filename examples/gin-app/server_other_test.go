//go:build !linux

package main

import "testing"

func newPostgres(t *testing.T) (address string) {
	t.Helper()
	t.Skip("the tests start a PostgreSQL server on Linux only")
	return ""
}

func stopPostgres() error { return nil }

// redisServer is the Redis server of a test.
type redisServer struct{ address string }

func newRedis(t *testing.T) *redisServer {
	t.Helper()
	t.Skip("the tests start a Redis server on Linux only")
	return nil
}

func (*redisServer) start(t *testing.T) { t.Helper() }
func (*redisServer) stop(t *testing.T)  { t.Helper() }
