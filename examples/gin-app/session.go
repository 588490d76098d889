package main

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
)

const (
	sessionCookie = "session"
	sessionTime   = 15 * time.Minute
)

// sessions issues the tokens that say who a request comes from, and takes them
// back. A token lives for sessionTime; one in a cookie is renewed while it is
// used. The key is random and is not kept: a restart signs everybody out.
//
// A token cannot be deleted, so signing out is remembered by its expiry: all the
// person's tokens that expire up to some second are void, and those issued later
// expire later. That takes one time per person, not a list of tokens.
//
// Concurrency: all methods may be called from several goroutines.
type sessions struct {
	store *store
	auth  *ginsse.Auth
	key   []byte
}

func newSessions(store *store) (*sessions, error) {
	s := &sessions{store: store, key: make([]byte, 32)}
	_, _ = rand.Read(s.key) // never fails
	var err error
	s.auth, err = ginsse.NewAuth(ginsse.AuthConfig{
		Key:     s.key,
		Methods: []string{"HS256"},
		Cookie:  sessionCookie,
	})
	return s, err
}

// session is a token and whom it was issued to, as the API returns it.
type session struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
	User      user      `json:"user"`
}

// issue makes a token for a person, as their account was read from the store. If
// they sign out between that and now, the token is void: see [store.EndSessions].
func (s *sessions) issue(a account) (session, error) {
	expires := later(a.ReadAt.Add(sessionTime).Truncate(time.Second), a.VoidThrough.Add(time.Second))
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject:   a.ID,
		ExpiresAt: jwt.NewNumericDate(expires),
	}).SignedString(s.key)
	return session{Token: token, ExpiresAt: expires.UTC(), User: a.user}, err
}

// void reports whether a token that expires then was signed out.
func void(a account, expires time.Time) bool { return !expires.After(a.VoidThrough) }

// admit refuses a token that was signed out, and renews one in a cookie that is
// past half of its time. It stands behind the kit's middleware.
func (s *sessions) admit(c *gin.Context) {
	a, err := s.store.Account(c.Request.Context(), ginsse.UserID(c))
	if err != nil {
		fail(c, err)
		return
	}
	expires := ginsse.Expiry(c)
	if void(a, expires) {
		fail(c, errSignedOut)
		return
	}
	c.Set(accountKey{}, a)
	if _, err := c.Request.Cookie(sessionCookie); err != nil || time.Until(expires) > sessionTime/2 {
		return
	}
	renewed, err := s.issue(a)
	if err != nil {
		fail(c, err)
		return
	}
	s.setCookie(c, renewed)
}

type accountKey struct{}

// person returns who the request comes from, as admit has found.
func person(c *gin.Context) user { return c.MustGet(accountKey{}).(account).user }

// setCookie gives the session to a browser. Scripts cannot read the cookie
// (HttpOnly), and no other site's page has it sent (SameSite).
func (s *sessions) setCookie(c *gin.Context, given session) {
	s.writeCookie(c, given.Token, int(sessionTime/time.Second))
}

func (s *sessions) clearCookie(c *gin.Context) { s.writeCookie(c, "", -1) }

func (s *sessions) writeCookie(c *gin.Context, value string, maxAge int) {
	cookie := http.Cookie{
		Name:     sessionCookie,
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		HttpOnly: true,
		Secure:   c.Request.TLS != nil,
		SameSite: http.SameSiteStrictMode,
	}
	// Set, not Add: signing out takes back what admit may have renewed. The
	// application sets no other cookie.
	c.Writer.Header().Set("Set-Cookie", cookie.String())
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
