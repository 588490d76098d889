package ginsse_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// Close and Shutdown return after the other nodes know, whichever of them comes last.
func TestSecondCloseWaitsToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		log := &posting{Node: logs[0]}
		registry, other := newRegistry(t, ginsse.RegistryConfig{Log: log}), newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		synctest.Wait()
		slow := func(post func()) { pass(500 * time.Millisecond); post() }
		log.way.Store(&slow)
		go registry.Close() // as http.Server does with what RegisterOnShutdown was given
		synctest.Wait()
		if err := registry.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantCluster(t, other, ginsse.ClusterStats{Nodes: 1})
		// A log that hangs does not hold them up.
		begun := time.Now()
		hangs := func(func()) { pass(time.Hour) }
		log = &posting{Node: logs[0]}
		registry = newRegistry(t, ginsse.RegistryConfig{Log: log})
		synctest.Wait()
		log.way.Store(&hangs)
		registry.Close()
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		pass(2 * time.Hour)
	})
}
