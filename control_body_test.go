package ginsse_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// A server of streams has no ReadTimeout. So ControlHandler has to bound the time of a body
// itself: the limit on requests does not count those whose body has not come.
func TestControlHandlerDoesNotWaitForASlowBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{AllowTopicFunc: allowAllButSecrets})
		server := ssetest.NewServer(t, controlEngine(t, registry))
		body, write := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/events", body)
		check(t, err)
		request.Header.Set("X-User", "mallory")
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			if response, err := server.Client.Do(request); err == nil {
				_ = response.Body.Close()
			}
		}()
		_, err = write.Write([]byte(`{"stream":"`))
		check(t, err)
		select {
		case <-answered:
		case <-time.After(5 * time.Minute):
			t.Error("the handler still waits for the body after 5 minutes")
		}
		check(t, write.Close())
		<-answered
	})
}
