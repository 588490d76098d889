package servers

import (
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// newGin is the handler of gin's own examples, done with care: c.Stream and
// c.SSEvent over a channel, a heartbeat, and headers at once.
func newGin(settings Settings) (Server, error) {
	gin.SetMode(gin.ReleaseMode)
	h := newHub[string]()
	engine := gin.New()
	engine.GET("/events", func(c *gin.Context) {
		user, err := userOf(c.GetHeader("Authorization"))
		if err != nil {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		me, leave := h.join(user)
		defer leave()
		c.Header("Content-Type", "text/event-stream")
		c.Header("Cache-Control", "no-cache")
		c.Header("X-Accel-Buffering", "no")
		c.Status(http.StatusOK)
		c.Writer.Flush()
		var beat <-chan time.Time
		if !settings.Silent {
			ticker := time.NewTicker(heartbeat)
			defer ticker.Stop()
			beat = ticker.C
		}
		c.Stream(func(w io.Writer) bool {
			select {
			case event := <-me.events:
				c.SSEvent("message", event)
				return true
			case <-beat:
				_, err := io.WriteString(w, ": heartbeat\n\n")
				return err == nil
			case <-c.Request.Context().Done():
				return false
			}
		})
	})
	return Server{
		Serve: serve(engine),
		SendTo: func(user string, data []byte) error {
			h.sendTo(user, string(data))
			return nil
		},
		Broadcast: func(data []byte) error {
			h.broadcast(string(data))
			return nil
		},
	}, nil
}
