package ginsse_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// No node sends messages of more than 64 KiB, and a broker may carry larger ones. Queues that
// are bounded by the number of messages would be larger in memory than they say.
func TestMessagesOfMoreThan64KiBAreDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		registry := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]})
		synctest.Wait()
		check(t, nodes[1].Post("", []byte(`{"node":"Z","number":1,"joined":["bob"]`+strings.Repeat(" ", 1<<20)+"}")))
		synctest.Wait()
		if registry.Online("bob") {
			t.Error("a message of 1 MiB was handled")
		}
	})
}
