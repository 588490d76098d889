package ginsse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
)

// A handler writes a stream of its own, event by event.
func ExampleOpen() {
	r := gin.New()
	r.GET("/countdown", func(c *gin.Context) {
		s, err := ginsse.Open(c, ginsse.StreamConfig{})
		if err != nil {
			return // the client has been answered
		}
		defer s.Close()
		for n := 3; n > 0; n-- {
			if err := s.Send(c.Request.Context(), ginsse.Event{Type: "count", Data: n}); err != nil {
				return // the client has gone
			}
		}
	})
	server := httptest.NewServer(r)
	defer server.Close()

	response := exampleDo(server, http.MethodGet, "/countdown")
	defer response.Body.Close()
	for e, err := range client.Decode(response.Body) {
		if err != nil {
			panic(err)
		}
		fmt.Println(e.Type, e.Data)
	}

	// Output:
	// count 3
	// count 2
	// count 1
}
