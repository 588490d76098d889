package ginsse_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// What a producer has sent is delivered, however slow the line; but a client that takes a
// byte now and then does not hold its handler beyond the stream's lifetime.
func TestFinishedStreamIsDeliveredWithinItsLifetime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		lifetime time.Duration
		whole    bool
	}{{"long_lifetime", 5 * time.Minute, true}, {"short_lifetime", time.Minute, false}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan time.Duration, 1)
				server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
					start := time.Now()
					_ = ginsse.Serve(c, ginsse.StreamConfig{MaxLifetime: test.lifetime}, func(ctx context.Context, s *ginsse.Stream) error {
						return s.Send(ctx, ginsse.Event{Data: strings.Repeat("x", 256<<10)})
					})
					ended <- time.Since(start)
				}))
				response := openBody(t, server, "/")
				total, piece := 0, make([]byte, 8<<10)
				for {
					n, err := response.Body.Read(piece)
					total += n
					if err != nil {
						break
					}
					pass(7 * time.Second) // 256 KiB take nearly four minutes
				}
				if whole := total >= 256<<10; whole != test.whole {
					t.Errorf("%d bytes were delivered", total)
				}
				if d := <-ended; d > test.lifetime+30*time.Second {
					t.Errorf("the handler was held for %v", d)
				}
			})
		})
	}
}
