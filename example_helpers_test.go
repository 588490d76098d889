package ginsse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
)

// exampleServer serves handler at /events, for the user that the header X-User names. An
// application authenticates its users: see the examples of NewAuth and NewAuthFunc.
func exampleServer(handler gin.HandlerFunc) *httptest.Server {
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	if err != nil {
		panic(err)
	}
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), handler)
	return httptest.NewServer(r)
}

// exampleDo sends a request with header fields, given as pairs of name and value.
func exampleDo(server *httptest.Server, method, path string, fields ...string) *http.Response {
	request, err := http.NewRequestWithContext(context.Background(), method, server.URL+path, http.NoBody)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
	}
	response, err := server.Client().Do(request)
	if err != nil {
		panic(err)
	}
	return response
}

// examplePrint prints an answer that is not a stream.
func examplePrint(response *http.Response) {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	fmt.Println(response.StatusCode, string(body))
}

// exampleStream is the client's end of an event stream.
type exampleStream struct {
	*client.Decoder
	io.Closer
	session string // the stream's ID on the server
	resumed bool
}

// exampleOpen opens an event stream after the last event ID, and reads its sse.open.
func exampleOpen(server *httptest.Server, user, lastEventID string) *exampleStream {
	response := exampleDo(server, http.MethodGet, "/events", "X-User", user, "Last-Event-ID", lastEventID)
	s := &exampleStream{Decoder: client.NewDecoder(response.Body, client.DecoderConfig{}), Closer: response.Body}
	e, err := s.Next()
	if err != nil || e.Type != "sse.open" {
		panic(fmt.Sprintf("status %d, %v, %v", response.StatusCode, e, err))
	}
	var data struct {
		Stream  string `json:"stream"`
		Resumed bool   `json:"resumed"`
	}
	if err := json.Unmarshal([]byte(e.Data), &data); err != nil {
		panic(err)
	}
	s.session, s.resumed = data.Stream, data.Resumed
	return s
}

// print prints the next n events. It prints "end" where the stream ends.
func (s *exampleStream) print(n int) {
	for range n {
		e, err := s.Next()
		switch {
		case errors.Is(err, io.EOF):
			fmt.Println("end")
		case err != nil:
			panic(err)
		case e.Type == "sse.reconnect": // the time to wait is random
			var data struct {
				Reason string `json:"reason"`
			}
			if err := json.Unmarshal([]byte(e.Data), &data); err != nil {
				panic(err)
			}
			fmt.Println(e.Type, data.Reason)
		default:
			fmt.Println(strings.TrimSpace(e.Type + " " + e.Data))
		}
	}
}
