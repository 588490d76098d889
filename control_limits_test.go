package ginsse_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// One request of a page cannot fill the log: each topic in it is a command there.
func TestControlHandlerRefusesToRemoveMoreTopicsThanAStreamCanHave(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Log: newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 100_000, MaxBytes: 1 << 20})})
	engine := controlEngine(t, registry)
	old := send(t, registry, "bob", 0).ID
	send(t, registry, "bob", 1)
	body := `{"stream":"s","remove":["` + strings.Repeat(`x","`, 16_000) + `x"]}`
	if status, _ := control(t, engine, "mallory", body); status != http.StatusBadRequest {
		t.Errorf("status %d, want 400", status)
	}
	stream := ssetest.NewServer(t, engine).Open(t, "/events", as("bob"), ssetest.LastEventID(old))
	stream.NextOf("sse.open")
	wantNext(t, stream, "n 1") // was pushed out by one request of another user
}
