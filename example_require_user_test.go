package ginsse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
)

// Other routes authenticate the same users as the stream.
func ExampleAuth_RequireUser() {
	secret := []byte("at least 32 bytes, from the environment")
	auth, err := ginsse.NewAuth(ginsse.AuthConfig{Key: secret, Methods: []string{"HS256"}})
	if err != nil {
		panic(err)
	}
	r := gin.New()
	api := r.Group("/api", auth.RequireUser())
	api.GET("/me", func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{"user": ginsse.UserID(c), "expires": !ginsse.Expiry(c).IsZero()})
	})
	server := httptest.NewServer(r)
	defer server.Close()

	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject:   "alice",
		ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	}).SignedString(secret)
	if err != nil {
		panic(err)
	}
	examplePrint(exampleDo(server, http.MethodGet, "/api/me", "Authorization", "Bearer "+token))
	refused := exampleDo(server, http.MethodGet, "/api/me")
	fmt.Println(refused.Header.Get("WWW-Authenticate"))
	examplePrint(refused)

	// Output:
	// 200 {"expires":true,"user":"alice"}
	// Bearer realm="events"
	// 401 {"error":{"code":"unauthenticated","message":"authentication is required"}}
}
