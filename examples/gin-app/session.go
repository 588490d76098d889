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
	sessionCookie          = "session"
	secureCookie           = "__Host-" + sessionCookie // browsers accept this name over HTTPS only, and only from this host
	defaultSessionLifetime = 15 * time.Minute
)

// sessions issues and revokes the tokens that identify users. A token is valid for 15 minutes.
// A token in a cookie is renewed while it is used. The signing key is random and in the store,
// so tokens stay valid across restarts.
//
// A signed token cannot be deleted. Signing out stores one time for the user instead: all tokens
// that expire up to that time are revoked. Tokens issued later always expire after it.
//
// Concurrency: all methods may be called from several goroutines.
type sessions struct {
	store    *store
	auth     *ginsse.Auth
	key      []byte
	lifetime time.Duration
	cookie   string // name of the session cookie
	secure   bool   // send the cookie over HTTPS only, even if this server speaks HTTP
	demo     bool   // demo users can sign in
}

func newSessions(ctx context.Context, store *store, cfg appConfig) (*sessions, error) {
	s := &sessions{store: store, lifetime: cfg.SessionLifetime, cookie: sessionCookie, secure: cfg.Secure, demo: cfg.Demo}
	if s.lifetime == 0 {
		s.lifetime = defaultSessionLifetime
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

// session is a token and its user, as the API returns them.
type session struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
	User      user      `json:"user"`
}

// issue returns a new token for a user. Errors: [errNoSuchUser].
func (s *sessions) issue(ctx context.Context, userID string) (session, error) {
	acc, expires, err := s.store.BeginSession(ctx, userID, s.lifetime)
	if err != nil {
		return session{}, err
	}
	return s.sign(acc.user, expires)
}

func (s *sessions) sign(u user, expires time.Time) (session, error) {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject:   u.ID,
		ExpiresAt: jwt.NewNumericDate(expires),
	}).SignedString(s.key)
	return session{Token: token, ExpiresAt: expires, User: u}, err
}

// revoked reports whether a token of an account with this expiry was signed out.
func revoked(acc account, expires time.Time) bool { return !expires.After(acc.RevokedThrough) }

// canSignIn reports whether an account can be used. Demo accounts stay in the database, but can
// be used only while the application runs with the demo.
func (s *sessions) canSignIn(acc account) bool { return s.demo || !acc.Demo }

// accepts reports whether a token of an account with this expiry can still be used.
func (s *sessions) accepts(acc account, expires time.Time) bool {
	return s.canSignIn(acc) && !revoked(acc, expires)
}

// isForOtherUser reports whether a page sent the request for a user other than the signed-in one.
//
// All tabs of a browser share one cookie. If another user signs in, a tab that still shows the
// first user would act as the second. So the page names its user in each request: in X-User, or
// in ?user= for the event stream.
func isForOtherUser(c *gin.Context, id string) bool {
	for _, named := range []string{c.GetHeader("X-User"), c.Query("user")} {
		if named != "" && named != id {
			return true
		}
	}
	return false
}

// requireSession is a middleware that follows [ginsse.Middleware] or RequireUser. It refuses
// tokens that were signed out, and requests that a page sent for another user. It renews a
// cookie that is past half of its lifetime.
func (s *sessions) requireSession(c *gin.Context) {
	acc, err := s.lookUp(c.Request.Context(), ginsse.UserID(c), ginsse.Expiry(c))
	if err == nil && isForOtherUser(c, acc.ID) {
		err = errOtherUser
	}
	if err == nil {
		err = s.renew(c, acc, ginsse.Expiry(c))
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Set(accountKey{}, acc)
}

// current returns the user of a request's session, or nil if the request has no valid session.
// Like requireSession, it renews the cookie. It needs no other middleware.
func (s *sessions) current(c *gin.Context) (*user, error) {
	identity, err := s.auth.Authenticate(c)
	var acc account
	if err == nil {
		acc, err = s.lookUp(c.Request.Context(), identity.UserID, identity.Expiry)
	}
	if err == nil {
		err = s.renew(c, acc, identity.Expiry)
	}
	var refused *ginsse.AuthError
	switch {
	case err == nil:
		return &acc.user, nil
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized, errors.Is(err, errNoSuchUser), errors.Is(err, errSignedOut):
		return nil, nil //nolint:nilnil // no session is a result
	case refused != nil:
		return nil, fmt.Errorf("%w: %w", badRequest("%s", refused.Description), err)
	default:
		return nil, err
	}
}

// lookUp returns the account of a token with this user ID and expiry. Errors:
// [errNoSuchUser], [errSignedOut].
func (s *sessions) lookUp(ctx context.Context, userID string, expires time.Time) (account, error) {
	acc, err := s.store.Account(ctx, userID)
	if err == nil && !s.accepts(acc, expires) {
		err = errSignedOut
	}
	return acc, err
}

// renew sets a new cookie if the request's cookie is past half of its lifetime. Errors:
// [errSignedOut], if the user signed out after lookUp was called.
func (s *sessions) renew(c *gin.Context, acc account, expires time.Time) error {
	cookie, _ := c.Request.Cookie(s.cookie) // nil if there is no such cookie
	if cookie == nil || cookie.Value == "" || time.Until(expires) > s.lifetime/2 {
		return nil
	}
	acc, until, err := s.store.BeginSession(c.Request.Context(), acc.ID, s.lifetime)
	if err == nil && revoked(acc, expires) {
		err = errSignedOut
	}
	if err != nil {
		return err
	}
	renewed, err := s.sign(acc.user, until)
	if err != nil {
		return err
	}
	s.setCookie(c, renewed)
	return nil
}

type accountKey struct{}

// currentUser returns the user of a request behind requireSession.
func currentUser(c *gin.Context) user { return c.MustGet(accountKey{}).(account).user }

// setCookie sets the session cookie. Scripts cannot read it (HttpOnly), and browsers do not
// send it with requests of other sites (SameSite).
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
	// Set, not Add: signing out must replace a cookie that requireSession renewed. The
	// application sets no other cookie.
	c.Writer.Header().Set("Set-Cookie", cookie.String())
}
