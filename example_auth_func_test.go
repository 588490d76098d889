package ginsse_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// An application with sessions of its own returns the user of a request, and when the session ends.
func ExampleNewAuthFunc() {
	type session struct {
		user      string
		ends      time.Time
		suspended bool
	}
	sessions := map[string]session{
		"s1": {user: "alice", ends: time.Now().Add(time.Hour)},
		"s2": {user: "mallory", ends: time.Now().Add(time.Hour), suspended: true},
	}
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		s, found := sessions[c.GetHeader("X-Session")]
		switch {
		case !found || !time.Now().Before(s.ends):
			return ginsse.Identity{}, errors.New("no such session") // answered with 401
		case s.suspended:
			return ginsse.Identity{}, &ginsse.AuthError{
				Status: http.StatusForbidden, Code: "suspended", Description: "the account is suspended",
			}
		}
		return ginsse.Identity{UserID: s.user, Expiry: s.ends}, nil // streams end then, too
	})
	if err != nil {
		panic(err)
	}
	r := gin.New()
	r.GET("/me", auth.RequireUser(), func(c *gin.Context) { c.String(http.StatusOK, ginsse.UserID(c)) })
	server := httptest.NewServer(r)
	defer server.Close()

	for _, id := range []string{"s1", "s2", "s3"} {
		examplePrint(exampleDo(server, http.MethodGet, "/me", "X-Session", id))
	}

	// Output:
	// 200 alice
	// 403 {"error":{"code":"suspended","message":"the account is suspended"}}
	// 401 {"error":{"code":"unauthenticated","message":"authentication is required"}}
}
