package servers

import (
	"io"
	"net/http"

	"github.com/gin-gonic/gin"
)

const ginAbout = "On gin. c.Stream and c.SSEvent read from a channel of 64 events for each client. " + aboutUpkeep +
	" No IDs and no replay. " + aboutHub

// newGin returns the handler of gin's own examples, done with care: it has heartbeats and
// a write deadline, and sends its headers at once.
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
		limit := newDeadline(settings, c.Writer)
		if limit.push() != nil {
			return
		}
		c.Writer.Flush()
		heartbeats := newHeartbeats(settings)
		defer heartbeats.stop()
		// c.Stream flushes after each step. A flush that fails ends the request's context.
		c.Stream(func(w io.Writer) bool {
			select {
			case event := <-me.events:
				if limit.push() != nil {
					return false
				}
				c.SSEvent("message", event)
				return true
			case <-heartbeats.C:
				heartbeats.next()
				if limit.push() != nil {
					return false
				}
				_, err := io.WriteString(w, ": heartbeat\n\n")
				return err == nil
			case <-c.Request.Context().Done():
				return false
			}
		})
	})
	return Server{
		Serve: serve(settings, engine),
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
