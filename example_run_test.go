package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/ssetest"
)

// The answer of a model goes on when its request has ended. The user's pages follow it from the
// beginning, also after a reload.
func ExampleRegistry_Run() {
	model := httptest.NewServer(http.HandlerFunc(exampleModel))
	defer model.Close()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	if err != nil {
		panic(err)
	}
	r := gin.New()
	r.POST("/answers", auth.RequireUser(), func(c *gin.Context) {
		run, err := registry.Run(c.Request.Context(), ginsse.UserID(c), func(ctx context.Context, run *ginsse.Run) error {
			return exampleForward(ctx, run, model.URL)
		})
		if err != nil {
			_ = c.AbortWithError(http.StatusServiceUnavailable, err)
			return
		}
		c.String(http.StatusAccepted, run.ID())
	})
	r.GET("/runs/:id/events", auth.RequireUser(), registry.RunHandler("id"))
	r.DELETE("/runs/:id", auth.RequireUser(), registry.StopRunHandler("id"))
	server := httptest.NewServer(r)
	defer server.Close()

	response := exampleDo(server, http.MethodPost, "/answers", "X-User", "alice")
	id, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	_ = response.Body.Close()

	for range 2 { // the page, and the page after a reload
		response := exampleDo(server, http.MethodGet, "/runs/"+string(id)+"/events", "X-User", "alice")
		body, err := io.ReadAll(response.Body)
		if err != nil {
			panic(err)
		}
		_ = response.Body.Close()
		for _, e := range ssetest.Parse(body) {
			fmt.Println(e.Data)
		}
	}
	examplePrint(exampleDo(server, http.MethodGet, "/runs/"+string(id)+"/events", "X-User", "bob"))

	// Output:
	// {"text":"Hello"}
	// {"text":", world"}
	// [DONE]
	// {"text":"Hello"}
	// {"text":", world"}
	// [DONE]
	// 404 {"error":{"code":"run_not_found","message":"there is no such run"}}
}

// exampleModel stands for the server of a model.
func exampleModel(w http.ResponseWriter, _ *http.Request) {
	for _, data := range []string{`{"text":"Hello"}`, `{"text":", world"}`, "[DONE]"} {
		_, _ = fmt.Fprintf(w, "data: %s\n\n", data)
	}
}

// exampleForward sends on what a model sends.
func exampleForward(ctx context.Context, run *ginsse.Run, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	events := client.NewDecoder(response.Body, client.DecoderConfig{})
	for {
		e, err := events.Next()
		if errors.Is(err, io.EOF) {
			return errors.New("the model's response has broken off")
		}
		if err != nil {
			return err
		}
		if err := run.Send(ginsse.Event{Data: e.Data}); err != nil || e.Data == "[DONE]" {
			return err
		}
	}
}
