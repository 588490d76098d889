package ginsse

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

// Middleware authenticates the request, puts the user ID and its expiry on the
// gin context, and then sets the event-stream headers. A request that is refused
// gets the status and WWW-Authenticate header of RFC 6750, none of those headers,
// and as its body the JSON {"error": {"code": ..., "message": ...}}.
//
// Handlers after it may still answer with an error: any status but 200, or no
// answer at all, takes Content-Type and X-Accel-Buffering off again.
//
// It also removes Accept-Encoding from the request, so that compression
// registered after it leaves the stream alone. Compression registered before it
// (with Engine.Use, say) has already wrapped the writer, and must exclude the
// route: [Open] and [Registry.Serve] refuse such a writer with an error that
// says so.
//
// Middleware panics if auth is nil.
func Middleware(auth *Auth) gin.HandlerFunc {
	if auth == nil {
		panic("ginsse: Middleware: auth is nil")
	}
	return func(c *gin.Context) {
		defer auth.redact(c) // also of a request that is refused, or whose check panics
		if !auth.admit(c, true) {
			return
		}
		c.Request.Header.Del("Accept-Encoding")
		guard := &headerGuard{ResponseWriter: c.Writer}
		c.Writer = guard
		setStreamHeaders(guard.Header())
		// Also when a handler panics: the answer that Recovery writes is not a stream.
		defer guard.release(c)
		c.Next()
	}
}

// RequireUser is [Middleware] without the event-stream headers, for ordinary
// routes: it authenticates and puts the user ID on the gin context.
func (a *Auth) RequireUser() gin.HandlerFunc {
	return func(c *gin.Context) {
		defer a.redact(c)
		if !a.admit(c, false) {
			return
		}
		c.Next()
	}
}

// admit authenticates c, or answers it and returns false.
func (a *Auth) admit(c *gin.Context, stream bool) bool {
	identity, err := a.Authenticate(c)
	if err == nil && a.identify == nil {
		err = a.checkOrigin(c.Request, stream)
	}
	if err != nil {
		a.refuse(c, err)
		return false
	}
	c.Set(identityKey{}, identity)
	return true
}

// refuse answers c by RFC 6750, section 3.
func (a *Auth) refuse(c *gin.Context, err error) {
	var refused *AuthError
	if !errors.As(err, &refused) {
		refused = refuse(codeNoCredentials, "authentication is required", err)
	}
	_ = c.Error(refused)
	status := refused.Status
	if status < 400 || status > 599 {
		status = http.StatusUnauthorized // the application set none; 0 would become 200
	}
	dropStreamHeaders(c.Writer.Header())
	if status == http.StatusUnauthorized || refused.Code == codeInvalidRequest || refused.Code == codeInsufficientScope {
		challenge := `Bearer realm="` + a.realm + `"`
		if refused.Code != codeNoCredentials {
			challenge += `, error="` + headerText(refused.Code) + `", error_description="` + headerText(refused.Description) + `"`
		}
		c.Header("WWW-Authenticate", challenge)
	}
	code := refused.Code
	if code == codeNoCredentials {
		code = "unauthenticated"
	}
	abortJSON(c, status, code, refused.Description)
}

// headerText keeps to the characters that RFC 6750, section 3, allows in the
// values of error and error_description.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}

// Identity is who a request comes from, as authentication found it.
type Identity struct {
	// UserID is whom [Registry.SendTo] reaches. Between 1 and [MaxNameBytes]
	// bytes of UTF-8 without control characters.
	UserID string
	// Expiry is when the credential ends, and every stream it opened with it.
	// The zero Time means never.
	Expiry time.Time
}

// identityKey is the key on the gin context; being a type of this package it
// collides with nobody's.
type identityKey struct{}

// UserID returns the user ID that [Middleware] or [Auth.RequireUser] put on c,
// or "" on a route that has neither.
func UserID(c *gin.Context) string { return identityOf(c).UserID }

// Expiry returns when the credential of c ends; the zero Time means never.
func Expiry(c *gin.Context) time.Time { return identityOf(c).Expiry }

func identityOf(c *gin.Context) Identity {
	value, _ := c.Get(identityKey{})
	identity, _ := value.(Identity)
	return identity
}

const contentType = "text/event-stream"

// setStreamHeaders sets what an event stream needs. The type has no charset
// parameter, since intermediaries compare it literally; no-transform keeps
// compressing proxies from buffering, X-Accel-Buffering nginx.
func setStreamHeaders(h http.Header) {
	h["Content-Type"] = []string{contentType}
	h["Cache-Control"] = []string{"private, no-cache, no-store, no-transform"}
	h["X-Accel-Buffering"] = []string{"no"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	delete(h, "Content-Length")
	delete(h, "Etag")
}

// dropStreamHeaders takes off what would make an error answer a stream. Without
// this gin's JSON renderer would keep the Content-Type it finds.
func dropStreamHeaders(h http.Header) {
	if h.Get("Content-Type") == contentType {
		delete(h, "Content-Type")
		delete(h, "X-Accel-Buffering")
	}
}

// headerGuard takes the event-stream headers off an answer that is no stream.
type headerGuard struct {
	gin.ResponseWriter
}

// WriteHeader implements http.ResponseWriter. gin calls it before the renderer
// sets its own Content-Type.
func (g *headerGuard) WriteHeader(status int) {
	if status != http.StatusOK && !g.Written() {
		dropStreamHeaders(g.Header())
	}
	g.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the writer below.
func (g *headerGuard) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// release ends the guard. An empty answer with the headers of a stream would
// have a browser reconnect for ever.
func (g *headerGuard) release(c *gin.Context) {
	if !g.Written() {
		dropStreamHeaders(g.Header())
	}
	if c.Writer == gin.ResponseWriter(g) {
		c.Writer = g.ResponseWriter
	}
}
