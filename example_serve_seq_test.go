package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// The tokens of a model are a sequence. If the model fails, the producer sends an event that says
// so. The kit sends none, and the client does not get the error.
func ExampleServeSeq() {
	tokens := func(context.Context) iter.Seq2[ginsse.Event, error] {
		return func(yield func(ginsse.Event, error) bool) {
			for _, token := range []string{"Hello", ",", " world"} {
				if !yield(ginsse.Event{Type: "token", Data: token}, nil) {
					return
				}
			}
			if yield(ginsse.Event{Type: "failed", Data: "try again later"}, nil) {
				yield(ginsse.Event{}, errors.New("model: out of memory"))
			}
		}
	}
	failed := make(chan error, 1)
	r := gin.New()
	r.GET("/answer", func(c *gin.Context) { failed <- ginsse.ServeSeq(c, ginsse.StreamConfig{}, tokens) })
	server := httptest.NewServer(r)
	defer server.Close()

	response := exampleDo(server, http.MethodGet, "/answer")
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	for _, e := range ssetest.Parse(body) {
		fmt.Printf("%s %q\n", e.Type, e.Data)
	}
	fmt.Println(<-failed)

	// Output:
	// token "Hello"
	// token ","
	// token " world"
	// failed "try again later"
	// ginsse: stream ended: failed: model: out of memory
}
