package nodetest

import (
	"testing"
	"time"
)

// Patience is when a test gives up. It is no demand on speed.
const Patience = 30 * time.Second

// Until polls a condition every 5 ms, and fails the test after [Patience].
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(Patience); !ok(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}
