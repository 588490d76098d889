package ginsse_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
)

// Bob comments on Alice's post, and Alice is notified.
func Example() {
	secret := []byte("at least 32 bytes, from the environment")
	auth, err := ginsse.NewAuth(ginsse.AuthConfig{Key: secret, Methods: []string{"HS256"}})
	if err != nil {
		panic(err)
	}
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}

	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
	r.POST("/posts/:id/comments", auth.RequireUser(), func(c *gin.Context) {
		author := "alice" // of the post, from the application's store
		_, err := registry.SendTo(c.Request.Context(), author, ginsse.Event{
			Type: "comment",
			Data: gin.H{"post": c.Param("id"), "by": ginsse.UserID(c)},
		})
		if err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		c.Status(http.StatusCreated)
	})
	server := httptest.NewServer(r)
	defer server.Close()
	server.Config.RegisterOnShutdown(registry.Close)
	defer registry.Close()

	// A sign-in would issue this token.
	sign := func(user string) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
			Subject:   user,
			ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)),
		}).SignedString(secret)
		if err != nil {
			panic(err)
		}
		return token
	}
	request := func(method, path, user string) *http.Response {
		req, err := http.NewRequestWithContext(context.Background(), method, server.URL+path, http.NoBody)
		if err != nil {
			panic(err)
		}
		req.Header.Set("Authorization", "Bearer "+sign(user))
		response, err := server.Client().Do(req)
		if err != nil {
			panic(err)
		}
		return response
	}

	events := request(http.MethodGet, "/events", "alice")
	defer events.Body.Close()
	fmt.Println(events.Status, events.Header.Get("Content-Type"))
	stream := client.NewDecoder(events.Body, client.DecoderConfig{})
	opened, err := stream.Next()
	if err != nil {
		panic(err)
	}
	fmt.Println(opened.Type)

	posted := request(http.MethodPost, "/posts/7/comments", "bob")
	defer posted.Body.Close()
	fmt.Println(posted.Status)

	comment, err := stream.Next()
	if err != nil {
		panic(err)
	}
	fmt.Println(comment.Type, comment.Data)

	// Output:
	// 200 OK text/event-stream
	// sse.open
	// 201 Created
	// comment {"by":"bob","post":"7"}
}
