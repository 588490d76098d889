package ginsse_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// rawStream opens a stream, waits for its end and returns all its bytes.
func rawStream(t *testing.T, s *httptest.Server, path string, header http.Header, opened func()) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	response, err := s.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	opened()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Some clients take an id as soon as they read its line. If the connection drops after that line,
// inside the block, such a client resumes after an event that it never dispatched.
func TestIDIsTheLastFieldOfEveryBlock(t *testing.T) {
	registry := newRegistry(t, ginsse.RegistryConfig{})
	engine := newEngine(t, registry)
	engine.GET("/produced", func(c *gin.Context) {
		_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
			return s.Send(ctx, ginsse.Event{Type: "n", ID: "7", Data: "a\nb", Comment: "note"})
		})
	})
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	at := send(t, registry, "alice", 0)
	registryStream := func(id string) string {
		return rawStream(t, server, "/events", http.Header{"X-User": {"alice"}, "Last-Event-Id": {id}}, func() {
			send(t, registry, "alice", 1)
			if _, err := registry.Broadcast(t.Context(), numbered(2)); err != nil {
				t.Fatal(err)
			}
			if _, err := registry.Disconnect(t.Context(), "alice", ""); err != nil {
				t.Fatal(err)
			}
		})
	}
	for name, text := range map[string]string{
		"registry": registryStream(at.ID),
		"gap":      registryStream("made up"),
		"producer": rawStream(t, server, "/produced", nil, func() {}),
	} {
		ids := 0
		for block := range strings.SplitSeq(strings.TrimSuffix(text, "\n\n"), "\n\n") {
			lines := strings.Split(block, "\n")
			for i, line := range lines {
				if !strings.HasPrefix(line, "id:") {
					continue
				}
				ids++
				if i != len(lines)-1 {
					t.Errorf("%s: fields follow the id in %q", name, block)
				}
			}
		}
		if ids == 0 {
			t.Errorf("%s: there is no id in %q", name, text)
		}
	}
}
