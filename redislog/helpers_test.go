package redislog_test

import (
	"testing"

	"github.com/ginsse/ginsse/internal/nodetest"
)

const patience = nodetest.Patience

// until polls a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	nodetest.Until(t, what, ok)
}
