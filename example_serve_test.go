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
	"github.com/ginsse/ginsse/ssetest"
)

// A report sends its progress, and stops when the client disconnects. Between its events the stream
// sends heartbeats.
func ExampleServe() {
	chapters := []string{"customers", "orders", "totals"}
	r := gin.New()
	r.GET("/report", func(c *gin.Context) {
		err := ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
			for i, chapter := range chapters {
				// Work that takes long should check ctx as well.
				progress := ginsse.Event{
					Type: "progress",
					Data: gin.H{"chapter": chapter, "percent": (i + 1) * 100 / len(chapters)},
				}
				if err := s.Send(ctx, progress); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, ginsse.ReasonClientGone) {
			_ = c.Error(err)
		}
	})
	server := httptest.NewServer(r)
	defer server.Close()

	response := exampleDo(server, http.MethodGet, "/report")
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	for _, e := range ssetest.Parse(body) {
		fmt.Println(e.Type, e.Data)
	}

	// Output:
	// progress {"chapter":"customers","percent":33}
	// progress {"chapter":"orders","percent":66}
	// progress {"chapter":"totals","percent":100}
}
