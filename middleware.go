package ginsse

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
)

// Middleware authenticates the request, puts the user ID and its expiry on the gin context, and
// sets the event-stream headers. A refused request gets the status and WWW-Authenticate header of
// RFC 6750, none of those headers, and the JSON body {"error": {"code": ..., "message": ...}}.
//
// A later handler may still respond with an error: a status other than 200, or no response at all,
// removes Content-Type and X-Accel-Buffering. So does a response with status 200 that is not an
// event stream, such as JSON: it keeps the Content-Type that gin or net/http gives it. The first
// such response of each Middleware puts a warning on gin's error list. Use [Auth.RequireUser] for
// such routes.
//
// Middleware also removes Accept-Encoding from the request, so that compression registered after it
// does not compress the stream. Compression registered before it, for example with Engine.Use, has
// already wrapped the writer and must exclude the route. [Serve] and [Registry.Serve] refuse a
// writer that compresses or buffers, with [ErrUnsupportedWriter].
//
// If the response writer of a middleware has no method Unwrap() http.ResponseWriter, streams work,
// but without write deadlines: a client that takes no byte keeps its handler until TCP gives up,
// and http.Server.WriteTimeout ends every stream. On HTTP/1, [ConnContext] restores the deadlines.
// Without it, a warning names the writer and the remedies. The warning goes to
// [RegistryConfig.Logger], once for each registry and type, or without a registry to gin's error
// list, once for each process and type. A stream behind such a writer is not compact, even with
// [StreamConfig.Compact].
//
// Middleware panics if auth is nil.
func Middleware(auth *Auth) gin.HandlerFunc {
	if auth == nil {
		panic("ginsse: Middleware: auth is nil")
	}
	var warned atomic.Bool
	return func(c *gin.Context) {
		defer auth.redact(c) // even if the request is refused or authentication panics
		if !auth.admit(c, true) {
			return
		}
		c.Request.Header.Del("Accept-Encoding")
		guard := &headerGuard{ResponseWriter: c.Writer}
		c.Writer = guard
		setStreamHeaders(guard.Header())
		// Run even if a handler panics: the response of Recovery is not a stream.
		defer func() {
			guard.release(c)
			if guard.misused && !warned.Swap(true) {
				_ = c.Error(misuse(c))
			}
		}()
		c.Next()
	}
}

// RequireUser is [Middleware] for ordinary routes. It authenticates the request and puts the user
// ID on the gin context, but sets no event-stream headers.
//
// Any page may link to a route with a safe method, so RequireUser lets GET, HEAD and OPTIONS pass for
// requests from other sites. [Serve] and [Registry.Serve] refuse those.
//
// RequireUser panics if a is nil.
func (a *Auth) RequireUser() gin.HandlerFunc {
	if a == nil {
		panic("ginsse: RequireUser: the Auth is nil")
	}
	return func(c *gin.Context) {
		defer a.redact(c)
		if !a.admit(c, false) {
			return
		}
		c.Next()
	}
}

// admit authenticates c. If it cannot, it writes the refusal and returns false.
func (a *Auth) admit(c *gin.Context, stream bool) bool {
	identity, err := a.identity(c, func(alone bool) error {
		if alone && !stream {
			c.Set(cookieKey{}, a) // checkOrigin lets safe methods pass, which may open a stream
		}
		return a.checkOrigin(c.Request, stream)
	})
	if err != nil {
		a.refuse(c, err)
		return false
	}
	c.Set(identityKey{}, identity)
	return true
}

// checkStreamOrigin refuses a stream to a page of another site, if the request depends on a cookie
// that RequireUser has accepted. With an error the client has been answered.
func checkStreamOrigin(c *gin.Context) error {
	value, _ := c.Get(cookieKey{})
	a, ok := value.(*Auth)
	if !ok {
		return nil
	}
	err := a.checkOrigin(c.Request, true)
	if err != nil {
		a.refuse(c, err)
	}
	return err
}

// refuse writes a refusal (RFC 6750, section 3).
func (a *Auth) refuse(c *gin.Context, err error) {
	var refused *AuthError
	switch {
	case errors.As(err, &refused):
	case isTemporary(err):
		refused = refuseForNow(err)
	default:
		refused = refuse(codeNoCredentials, "authentication is required", err)
	}
	_ = c.Error(refused)
	status := refused.Status
	if status < 400 || status > 599 {
		status = http.StatusUnauthorized // the application set no error status, and 0 would become 200
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

// headerText removes characters that RFC 6750, section 3, does not allow in error and
// error_description.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}

// Identity is the authenticated user of a request.
type Identity struct {
	// UserID is the ID to use with [Registry.SendTo]. It has 1 to [MaxNameBytes] bytes of UTF-8,
	// without control characters and without U+FFFD, which replaces bytes that are not UTF-8.
	UserID string
	// Expiry is when the credential expires, and with it each stream that it opened. The zero Time
	// means never.
	Expiry time.Time
}

// identityKey and cookieKey are keys on the gin context. Unexported types cannot collide with other
// keys.
type (
	identityKey struct{}
	cookieKey   struct{} // of the Auth that accepted a cookie alone, for an ordinary route
)

// UserID returns the user ID that [Middleware] or [Auth.RequireUser] put on c, or "" on a route
// without either.
func UserID(c *gin.Context) string { return identityOf(c).UserID }

// Expiry returns when the credential of c expires. The zero Time means never.
func Expiry(c *gin.Context) time.Time { return identityOf(c).Expiry }

func identityOf(c *gin.Context) Identity {
	value, _ := c.Get(identityKey{})
	identity, _ := value.(Identity)
	return identity
}

const contentType = "text/event-stream"

// setStreamHeaders sets the headers of an event stream. The type has no charset parameter, because
// some intermediaries compare it literally. no-transform prevents buffering by compressing proxies,
// and X-Accel-Buffering by nginx.
func setStreamHeaders(h http.Header) {
	h["Content-Type"] = []string{contentType}
	h["Cache-Control"] = []string{"private, no-cache, no-store, no-transform"}
	h["X-Accel-Buffering"] = []string{"no"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	delete(h, "Content-Length")
	delete(h, "Etag")
}

// dropStreamHeaders removes the headers of a stream from an error response. Otherwise gin's JSON
// renderer would keep the Content-Type.
func dropStreamHeaders(h http.Header) {
	if h.Get("Content-Type") == contentType {
		delete(h, "Content-Type")
		delete(h, "X-Accel-Buffering")
	}
}

// headerGuard removes the event-stream headers from a response that is not a stream. Only the
// goroutine that writes the response uses it.
type headerGuard struct {
	gin.ResponseWriter

	withheld bool // Content-Type is removed, so that a renderer can set its own
	begun    bool // the first bytes of the body were checked
	misused  bool // they were not an event stream
}

// WriteHeader implements http.ResponseWriter. gin calls it before a renderer sets its Content-Type,
// which the renderer does only if there is none. The status is -1 for renderers that set the status
// themselves, such as a redirect, or leave it alone, such as c.SSEvent.
func (g *headerGuard) WriteHeader(status int) {
	switch {
	case g.Written():
	case status > 0 && status != http.StatusOK:
		g.dropHeaders()
	case g.Header().Get("Content-Type") == contentType:
		delete(g.Header(), "Content-Type")
		g.withheld = true
	}
	g.ResponseWriter.WriteHeader(status)
}

// WriteHeaderNow implements gin.ResponseWriter.
func (g *headerGuard) WriteHeaderNow() {
	g.restore()
	g.ResponseWriter.WriteHeaderNow()
}

// Flush implements http.Flusher.
func (g *headerGuard) Flush() {
	g.restore()
	g.ResponseWriter.Flush()
}

// Write implements io.Writer.
func (g *headerGuard) Write(p []byte) (int, error) {
	g.checkBody(string(p[:min(len(p), headBytes)]))
	return g.ResponseWriter.Write(p)
}

// WriteString implements io.StringWriter.
func (g *headerGuard) WriteString(s string) (int, error) {
	g.checkBody(s[:min(len(s), headBytes)])
	return g.ResponseWriter.WriteString(s)
}

// headBytes is how much of a body checkBody needs.
const headBytes = 32

// checkBody decides by the first bytes of the body whether the response is a stream.
func (g *headerGuard) checkBody(head string) {
	if g.begun || head == "" {
		return
	}
	g.begun = true
	header := g.Header()
	set := header.Get("Content-Type")
	others := set != "" && !strings.HasPrefix(set, contentType) // set by a renderer
	encoded := header.Get("Content-Encoding") != ""
	if g.Status() == http.StatusOK && (others || !encoded && !beginsStream(head)) {
		g.misused = true
		g.dropHeaders()
		if header.Get("Content-Type") == "" && !encoded {
			// Otherwise net/http guesses the type, and relayed text could become a page.
			header["Content-Type"] = []string{"text/plain; charset=utf-8"}
		}
		return
	}
	g.restore()
}

// beginsStream reports whether head may be the beginning of an event stream (section 9.2.5). That
// is a comment, a blank line or a field, possibly incomplete. An unknown field needs a colon.
func beginsStream(head string) bool {
	line := strings.TrimPrefix(head, "\ufeff")
	end := strings.IndexFunc(line, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
	fields := []string{"data", "event", "id", "retry"}
	switch {
	case end < 0:
		return slices.ContainsFunc(fields, func(field string) bool { return strings.HasPrefix(field, line) })
	case line[end] == '\n', line[end] == '\r':
		return end == 0 || slices.Contains(fields, line[:end])
	default:
		return line[end] == ':'
	}
}

// restore sets a withheld Content-Type again.
func (g *headerGuard) restore() {
	if g.withheld && g.Status() == http.StatusOK && g.Header().Get("Content-Type") == "" {
		g.Header()["Content-Type"] = []string{contentType}
	}
	g.withheld = false
}

// dropHeaders removes the headers that would make the response a stream.
func (g *headerGuard) dropHeaders() {
	dropStreamHeaders(g.Header())
	delete(g.Header(), "X-Accel-Buffering") // even with another Content-Type
	g.withheld = false
}

// misuse returns the error for a route that serves no event stream.
func misuse(c *gin.Context) error {
	return fmt.Errorf("ginsse: Middleware: the handler of %s %s wrote a body that is not an event stream: "+
		"use Auth.RequireUser on such routes (reported once)", c.Request.Method, c.FullPath())
}

// Unwrap returns the wrapped writer, for http.ResponseController.
func (g *headerGuard) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// release removes the guard from c. It also removes the headers of a stream from an empty response,
// with which a browser would reconnect again and again.
func (g *headerGuard) release(c *gin.Context) {
	if !g.Written() {
		g.dropHeaders()
	}
	if c.Writer == gin.ResponseWriter(g) {
		c.Writer = g.ResponseWriter
	}
}
