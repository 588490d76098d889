package main

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
)

// sessionCookie has no prefix and is not Secure, because the pages over HTTP and HTTPS share it.
const sessionCookie = "session"

const defaultTTL = time.Hour

// signIn sets the session cookie of ?user=. The session ends after ?ttl= milliseconds.
func (s *server) signIn(c *gin.Context) {
	token, ok := s.newToken(c)
	if !ok {
		return
	}
	s.setCookie(c, token, 0)
	c.Status(http.StatusNoContent)
}

func (s *server) signOut(c *gin.Context) {
	s.setCookie(c, "", -1)
	c.Status(http.StatusNoContent)
}

func (s *server) setCookie(c *gin.Context, value string, maxAge int) {
	http.SetCookie(c.Writer, &http.Cookie{ //nolint:gosec // not Secure: see sessionCookie
		Name:     sessionCookie,
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// token answers with a token for the Authorization header. The parameters are those of signIn.
func (s *server) token(c *gin.Context) {
	if token, ok := s.newToken(c); ok {
		c.String(http.StatusOK, "%s", token)
	}
}

// newToken returns a token for the parameters of the request. If they are wrong, it answers the
// request and returns false. A token expires at a full second, up to one after its time.
func (s *server) newToken(c *gin.Context) (token string, ok bool) {
	ttl := defaultTTL
	if text := c.Query("ttl"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			c.String(http.StatusBadRequest, "ttl: %v", err)
			return "", false
		}
		ttl = time.Duration(n) * time.Millisecond
	}
	expiry := time.Now().Add(ttl + time.Second - 1).Truncate(time.Second)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": c.Query("user"),
		"exp": expiry.Unix(),
		"jti": rand.Text(), // no two tokens are equal
	}).SignedString(s.key)
	if err != nil {
		c.String(http.StatusInternalServerError, "%v", err)
		return "", false
	}
	return token, true
}
