package ginsse_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// MaxOpensPerMinute bounds the requests of a user. It bounds what they write to the log only if
// each of them writes little: with 130 commands each, one user writes 16,640 a minute.
func TestRequestOfAPageIsFewCommands(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{})
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log, AllowTopicFunc: allowAllButSecrets})
	before, err := log.Head(t.Context())
	check(t, err)
	var topics []string
	for n := range 64 {
		topics = append(topics, fmt.Sprintf(`"%d"`, n))
	}
	all := strings.Join(topics, ",")
	status, _ := control(t, controlEngine(t, registry), "mallory", `{"stream":"s","add":[`+all+`],"remove":[`+all+`],"state":true}`, "X-Lifetime", "1h")
	if status != http.StatusAccepted {
		t.Fatalf("status %d", status)
	}
	after, err := log.Head(t.Context())
	check(t, err)
	if n := after.Seq - before.Seq; n > 8 {
		t.Errorf("one request made %d commands", n)
	}
}
