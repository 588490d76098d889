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

// Middleware authenticates the request, puts the user ID and its expiry on the
// gin context, and then sets the event-stream headers. A request that is refused
// gets the status and WWW-Authenticate header of RFC 6750, none of those headers,
// and as its body the JSON {"error": {"code": ..., "message": ...}}.
//
// Handlers after it may still answer with an error: any status but 200, or no
// answer at all, takes Content-Type and X-Accel-Buffering off again. So does an answer
// with status 200 that is no event stream, JSON for example: it keeps the Content-Type
// that gin or net/http gives it, and the first one of each Middleware puts a
// warning on gin's error list. [Auth.RequireUser] is for such routes.
//
// It also removes Accept-Encoding from the request, so that compression
// registered after it leaves the stream alone. Compression registered before it
// (with Engine.Use, say) has already wrapped the writer, and must exclude the
// route: [Serve] and [Registry.Serve] refuse such a writer with
// [ErrUnsupportedWriter], and so one that holds the response back.
//
// Streams work behind a middleware whose response writer has no method Unwrap()
// http.ResponseWriter, but without write deadlines: a client that takes no byte keeps its
// handler until TCP gives up, and http.Server.WriteTimeout ends every stream. On HTTP/1
// [ConnContext] gives the deadlines back. Without it a warning that names the writer and
// the remedies goes to [RegistryConfig.Logger], once for each registry and type; without a
// registry to gin's error list, once for each process and type.
//
// Middleware panics if auth is nil.
func Middleware(auth *Auth) gin.HandlerFunc {
	if auth == nil {
		panic("ginsse: Middleware: auth is nil")
	}
	var warned atomic.Bool
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
		defer func() {
			guard.release(c)
			if guard.misused && !warned.Swap(true) {
				_ = c.Error(misuse(c))
			}
		}()
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
	identity, err := a.identity(c, func() error { return a.checkOrigin(c.Request, stream) })
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
	// bytes of UTF-8 without control characters and without U+FFFD, which stands for
	// bytes that could not be decoded.
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

// headerGuard takes the event-stream headers off an answer that is no stream. Only the
// goroutine that writes the answer uses it.
type headerGuard struct {
	gin.ResponseWriter

	withheld bool // Content-Type is off, so that a renderer can set its own
	begun    bool // the first bytes of the body were seen
	misused  bool // they were no event stream
}

// WriteHeader implements http.ResponseWriter. gin calls it before a renderer sets its
// Content-Type, which it does only if there is none. gin passes -1 for a renderer that
// sets the status itself, a redirect's, or leaves it alone, as c.SSEvent does.
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
	g.look(string(p[:min(len(p), headBytes)]))
	return g.ResponseWriter.Write(p)
}

// WriteString implements io.StringWriter.
func (g *headerGuard) WriteString(s string) (int, error) {
	g.look(s[:min(len(s), headBytes)])
	return g.ResponseWriter.WriteString(s)
}

// headBytes is how much of a body look needs.
const headBytes = 32

// look decides by the first bytes of the body whether the answer is a stream.
func (g *headerGuard) look(head string) {
	if g.begun || head == "" {
		return
	}
	g.begun = true
	header := g.Header()
	set := header.Get("Content-Type")
	others := set != "" && !strings.HasPrefix(set, contentType) // a renderer's
	encoded := header.Get("Content-Encoding") != ""
	if g.Status() == http.StatusOK && (others || !encoded && !beginsStream(head)) {
		g.misused = true
		g.dropHeaders()
		if header.Get("Content-Type") == "" && !encoded {
			// Not for net/http to guess: what is relayed here must not become a page.
			header["Content-Type"] = []string{"text/plain; charset=utf-8"}
		}
		return
	}
	g.restore()
}

// beginsStream reports whether head may be the beginning of an event stream: of a
// comment, a blank line or a field (section 9.2.5), cut off anywhere. A field may be
// unknown if it has a colon.
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

// restore puts a withheld Content-Type back.
func (g *headerGuard) restore() {
	if g.withheld && g.Status() == http.StatusOK && g.Header().Get("Content-Type") == "" {
		g.Header()["Content-Type"] = []string{contentType}
	}
	g.withheld = false
}

// dropHeaders takes off what would make the answer a stream.
func (g *headerGuard) dropHeaders() {
	dropStreamHeaders(g.Header())
	delete(g.Header(), "X-Accel-Buffering") // also beside another Content-Type
	g.withheld = false
}

// misuse says what is wrong with the route of c.
func misuse(c *gin.Context) error {
	return fmt.Errorf("ginsse: Middleware: the handler of %s %s wrote a body that is no event stream: "+
		"use Auth.RequireUser on routes that serve no event stream (reported once)", c.Request.Method, c.FullPath())
}

// Unwrap lets http.ResponseController find the writer below.
func (g *headerGuard) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// release ends the guard. An empty answer with the headers of a stream would
// have a browser reconnect for ever.
func (g *headerGuard) release(c *gin.Context) {
	if !g.Written() {
		g.dropHeaders()
	}
	if c.Writer == gin.ResponseWriter(g) {
		c.Writer = g.ResponseWriter
	}
}
