package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
)

const (
	sessionCookie      = "session"
	secureCookie       = "__Host-" + sessionCookie // browsers take it over TLS only, and from this host only
	defaultSessionTime = 15 * time.Minute
)

// sessions issues the tokens that say who a request comes from, and takes them
// back. A token lives for a quarter of an hour; one in a cookie is renewed while it is
// used. The key is random and kept in the store: a restart signs nobody out.
//
// A token cannot be deleted, so signing out is remembered by its expiry: all the
// person's tokens that expire up to some second are void, and those issued later
// expire later. That takes one time per person, not a list of tokens.
//
// Concurrency: all methods may be called from several goroutines.
type sessions struct {
	store    *store
	auth     *ginsse.Auth
	key      []byte
	lifetime time.Duration
	cookie   string // its name
	secure   bool   // the cookie is for TLS, whatever this server speaks
	demo     bool   // the demo people may come in
}

func newSessions(ctx context.Context, store *store, cfg appConfig) (*sessions, error) {
	s := &sessions{store: store, lifetime: cfg.SessionTime, cookie: sessionCookie, secure: cfg.Secure, demo: cfg.Demo}
	if s.lifetime == 0 {
		s.lifetime = defaultSessionTime
	}
	if s.secure {
		s.cookie = secureCookie
	}
	var err error
	if s.key, err = store.Secret(ctx, "session key", 32); err != nil {
		return nil, err
	}
	s.auth, err = ginsse.NewAuth(ginsse.AuthConfig{
		Key:     s.key,
		Methods: []string{"HS256"},
		Cookie:  s.cookie,
	})
	return s, err
}

// session is a token and whom it was issued to, as the API returns it.
type session struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
	User      user      `json:"user"`
}

// issue makes a token for a person.
func (s *sessions) issue(ctx context.Context, userID string) (session, error) {
	who, expires, err := s.store.BeginSession(ctx, userID, s.lifetime)
	if err != nil {
		return session{}, err
	}
	return s.sign(who.user, expires)
}

func (s *sessions) sign(who user, expires time.Time) (session, error) {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject:   who.ID,
		ExpiresAt: jwt.NewNumericDate(expires),
	}).SignedString(s.key)
	return session{Token: token, ExpiresAt: expires, User: who}, err
}

// void reports whether a token that expires then was signed out.
func void(who account, expires time.Time) bool { return !expires.After(who.VoidThrough) }

// mayEnter reports whether a person may be here at all: the demo people, who stay in
// the database, only in a demo.
func (s *sessions) mayEnter(who account) bool { return s.demo || !who.Demo }

// refuses reports whether a person's token that expires then is good no more.
func (s *sessions) refuses(who account, expires time.Time) bool {
	return !s.mayEnter(who) || void(who, expires)
}

// isForAnother reports whether a request was meant to come from somebody else. A
// browser has one cookie for all its tabs: when another person has signed in, a page
// that still shows the first one's things would act as the second. So a page says
// whom it shows; an EventSource, which sends no headers, says it in the query.
func isForAnother(c *gin.Context, id string) bool {
	for _, meant := range []string{c.GetHeader("X-User"), c.Query("user")} {
		if meant != "" && meant != id {
			return true
		}
	}
	return false
}

// admit refuses a token that was signed out and a request that was meant for
// another's, and renews a token in a cookie that is past half of its time. It stands
// behind the kit's middleware.
func (s *sessions) admit(c *gin.Context) {
	who, err := s.find(c.Request.Context(), ginsse.UserID(c), ginsse.Expiry(c))
	if err == nil && isForAnother(c, who.ID) {
		err = errOtherUser
	}
	if err == nil {
		err = s.renew(c, who, ginsse.Expiry(c))
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Set(accountKey{}, who)
}

// current returns the user of a request's session, or nil if the request has no valid session.
// Like admit, it renews the session. It needs no middleware in front.
func (s *sessions) current(c *gin.Context) (*user, error) {
	identity, err := s.auth.Authenticate(c)
	var who account
	if err == nil {
		who, err = s.find(c.Request.Context(), identity.UserID, identity.Expiry)
	}
	if err == nil {
		err = s.renew(c, who, identity.Expiry)
	}
	var refused *ginsse.AuthError
	switch {
	case err == nil:
		return &who.user, nil
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized, errors.Is(err, errNoSuchUser), errors.Is(err, errSignedOut):
		return nil, nil //nolint:nilnil // no session is a result
	case refused != nil:
		return nil, fmt.Errorf("%w: %w", badRequest("%s", refused.Description), err)
	default:
		return nil, err
	}
}

// find returns the account of a token with this user ID and expiry. Errors:
// [errNoSuchUser], [errSignedOut].
func (s *sessions) find(ctx context.Context, userID string, expires time.Time) (account, error) {
	who, err := s.store.Account(ctx, userID)
	if err == nil && s.refuses(who, expires) {
		err = errSignedOut
	}
	return who, err
}

// renew sets a new cookie if the request's cookie is past half of its lifetime. Errors:
// [errSignedOut], if the user signed out after find was called.
func (s *sessions) renew(c *gin.Context, who account, expires time.Time) error {
	cookie, _ := c.Request.Cookie(s.cookie) // nil without one
	if cookie == nil || cookie.Value == "" || time.Until(expires) > s.lifetime/2 {
		return nil
	}
	who, until, err := s.store.BeginSession(c.Request.Context(), who.ID, s.lifetime)
	if err == nil && void(who, expires) {
		err = errSignedOut
	}
	if err != nil {
		return err
	}
	renewed, err := s.sign(who.user, until)
	if err != nil {
		return err
	}
	s.setCookie(c, renewed)
	return nil
}

type accountKey struct{}

// person returns who the request comes from, as admit has found.
func person(c *gin.Context) user { return c.MustGet(accountKey{}).(account).user }

// setCookie gives the session to a browser. Scripts cannot read the cookie
// (HttpOnly), and no other site's page has it sent (SameSite).
func (s *sessions) setCookie(c *gin.Context, given session) {
	s.writeCookie(c, given.Token, int(s.lifetime/time.Second))
}

func (s *sessions) clearCookie(c *gin.Context) { s.writeCookie(c, "", -1) }

func (s *sessions) writeCookie(c *gin.Context, value string, maxAge int) {
	cookie := http.Cookie{
		Name:     s.cookie,
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		HttpOnly: true,
		Secure:   s.secure || c.Request.TLS != nil,
		SameSite: http.SameSiteStrictMode,
	}
	// Set, not Add: signing out takes back what admit may have renewed. The
	// application sets no other cookie.
	c.Writer.Header().Set("Set-Cookie", cookie.String())
}
