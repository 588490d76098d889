//go:build !linux

package sqllog_test

import (
	"database/sql"
	"testing"
)

// newDatabase skips the test. Only on Linux the tests have a server of their own.
func newDatabase(t testing.TB) string {
	t.Helper()
	t.Skip("these tests start a server of Debian's packages")
	return ""
}

func openURL(t testing.TB, _ string) *sql.DB {
	t.Helper()
	return nil
}

func stopShared() {}
