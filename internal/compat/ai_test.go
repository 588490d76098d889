package compat_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// TestRunsServeTheAISDK runs ai/ai.test.mjs, which uses the real useChat of the AI SDK, against the
// handlers of the guide. It needs Node.js, and "npm ci" in ai/.
func TestRunsServeTheAISDK(t *testing.T) {
	t.Parallel()
	if os.Getenv("AI_TESTS") != "required" {
		t.Skip("AI_TESTS is not \"required\"")
	}
	server := httptest.NewServer(newChats(t).engine(t))
	defer server.Close()
	defer server.CloseClientConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "node", "--test", "ai.test.mjs")
	command.Dir = "ai"
	command.Env = append(os.Environ(), "SERVER="+server.URL)
	output, err := command.CombinedOutput()
	t.Logf("%s", output)
	if err != nil {
		t.Error(err)
	}
}

// chats stands for an application. Its model counts to the number of words that the test sets.
type chats struct {
	registry *ginsse.Registry
	pause    time.Duration // before each word

	mu      sync.Mutex // guards the fields below
	running map[string]string
	answers map[string]string
	stopped int
}

func newChats(t *testing.T) *chats {
	t.Helper()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	return &chats{registry: registry, pause: 20 * time.Millisecond, running: make(map[string]string), answers: make(map[string]string)}
}

func (a *chats) engine(t *testing.T) *gin.Engine {
	t.Helper()
	auth, err := ginsse.NewAuthFunc(func(*gin.Context) (ginsse.Identity, error) { return ginsse.Identity{UserID: "alice"}, nil })
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	r.Use(gin.Recovery())
	r.POST("/api/chat", auth.RequireUser(), a.post)
	r.GET("/api/chat/:id/stream", auth.RequireUser(), func(c *gin.Context) {
		id := a.get(a.running, c.Param("id"))
		if id == "" {
			c.Status(http.StatusNoContent)
			return
		}
		a.serve(c, id)
	})
	r.DELETE("/api/chat/:id/stream", auth.RequireUser(), func(c *gin.Context) {
		if err := a.registry.StopRun(c.Request.Context(), "alice", a.get(a.running, c.Param("id"))); err != nil {
			_ = c.AbortWithError(http.StatusServiceUnavailable, err)
			return
		}
		c.Status(http.StatusNoContent)
	})
	r.GET("/state/:id", func(c *gin.Context) {
		a.mu.Lock()
		defer a.mu.Unlock()
		c.JSON(http.StatusOK, gin.H{"answer": a.answers[c.Param("id")], "stopped": a.stopped})
	})
	r.POST("/disconnect", func(c *gin.Context) {
		if _, err := a.registry.Disconnect(c.Request.Context(), "alice", ginsse.ReasonReauthenticate); err != nil {
			_ = c.AbortWithError(http.StatusServiceUnavailable, err)
		}
	})
	return r
}

func (a *chats) get(from map[string]string, id string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return from[id]
}

func (a *chats) serve(c *gin.Context, run string) {
	c.Header("X-Vercel-Ai-Ui-Message-Stream", "v1")
	_ = a.registry.ServeRun(c, run)
}

func (a *chats) post(c *gin.Context) {
	var request struct {
		ID    string `json:"id"`
		Words int    `json:"words"`
	}
	if err := c.ShouldBindJSON(&request); err != nil {
		c.AbortWithStatus(http.StatusBadRequest)
		return
	}
	run, err := a.registry.Run(c.Request.Context(), "alice", func(ctx context.Context, run *ginsse.Run) error {
		a.mu.Lock()
		a.running[request.ID] = run.ID()
		a.mu.Unlock()
		answer, err := a.answer(ctx, run, request.Words)
		a.mu.Lock()
		a.running[request.ID], a.answers[request.ID] = "", answer
		a.mu.Unlock()
		return err
	})
	if err != nil {
		_ = c.AbortWithError(http.StatusServiceUnavailable, err)
		return
	}
	a.serve(c, run.ID())
}

// answer sends an answer as UI message chunks. With a negative number of words the model fails.
func (a *chats) answer(ctx context.Context, run *ginsse.Run, words int) (answer string, err error) {
	send := func(chunk gin.H) {
		if err == nil {
			err = run.Send(ginsse.Event{Data: chunk})
		}
	}
	send(gin.H{"type": "start", "messageId": run.ID()})
	send(gin.H{"type": "text-start", "id": "0"})
	for n := 0; n < max(words, -words) && err == nil; n++ {
		select {
		case <-time.After(a.pause):
		case <-ctx.Done():
			send(gin.H{"type": "abort"})
			if errors.Is(context.Cause(ctx), ginsse.ErrRunStopped) {
				a.mu.Lock()
				a.stopped++
				a.mu.Unlock()
			}
			return answer, errors.Join(err, ctx.Err())
		}
		word := strconv.Itoa(n) + " "
		answer += word
		send(gin.H{"type": "text-delta", "id": "0", "delta": word})
	}
	if words < 0 {
		return answer, errors.New("the model failed")
	}
	send(gin.H{"type": "text-end", "id": "0"})
	send(gin.H{"type": "finish"})
	if err == nil {
		err = run.Send(ginsse.Event{Data: "[DONE]"})
	}
	return answer, err
}
