package ginsse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// A page names topics when it opens its stream, and changes them later. The application decides.
func ExampleRegistry_ControlHandler() {
	members := map[string]bool{"board-7 alice": true, "board-9 alice": true}
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
		AllowTopicFunc: func(c *gin.Context, topic string) (bool, error) {
			return members[topic+" "+ginsse.UserID(c)], nil
		},
	})
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
	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
	r.POST("/events", auth.RequireUser(), registry.ControlHandler())
	server := httptest.NewServer(r)
	defer server.Close()

	alice := exampleOpen(server, "alice", "")
	defer alice.Close()
	body := fmt.Sprintf(`{"stream": %q, "add": ["board-9", "secret"]}`, alice.session)
	request := httptest.NewRequest(http.MethodPost, "/events", strings.NewReader(body))
	request.Header.Set("X-User", "alice")
	answer := httptest.NewRecorder()
	r.ServeHTTP(answer, request)
	fmt.Println(answer.Code, answer.Body)
	alice.print(1)

	// Output:
	// 202 {"accepted":["board-9"],"refused":["secret"]}
	// sse.topics {"topics":["board-9"],"added":["board-9"]}
}
