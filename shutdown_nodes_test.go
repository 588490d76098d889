package ginsse_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// http.Server calls Close in the background while the application waits for Shutdown. Whichever
// returns last, the other nodes know by then, so that the application may close the log.
func TestCloseAndShutdownWaitUntilOtherNodesKnow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		log := &slowNode{Node: logs[0]}
		registry, other := newRegistry(t, ginsse.RegistryConfig{Log: log}), newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		synctest.Wait()
		wantCluster(t, other, ginsse.ClusterStats{Nodes: 2})
		log.delay.Store(int64(500 * time.Millisecond))
		go registry.Close()
		synctest.Wait()
		if err := registry.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantCluster(t, other, ginsse.ClusterStats{Nodes: 1})
	})
}

func TestCloseReturnsWhileTheLogHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &slowNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		synctest.Wait()
		log.delay.Store(int64(time.Hour))
		start := time.Now()
		registry.Close()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("Close returned after %v", took)
		}
		pass(2 * time.Hour) // for the message that hangs
	})
}
