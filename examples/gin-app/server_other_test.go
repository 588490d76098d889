//go:build !linux

package main

import "testing"

func newPostgres(t *testing.T) (address string) {
	t.Helper()
	t.Skip("the tests start a PostgreSQL server on Linux only")
	return ""
}

func stopPostgres() error { return nil }
