package debug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

const (
	maxBodyBytes  = 16 << 10
	actionTimeout = 5 * time.Second
	// testTTL is for how long a test event is delivered: a user who comes later does not get it.
	testTTL = time.Minute
	// ownHeader is in each request of the page that changes something. A page of another site cannot
	// set it without the server's consent.
	ownHeader = "Ginsse-Debug"
)

// refuseOtherSites refuses requests that a page of another site makes with the administrator's cookies.
// Old browsers that do not say where a request comes from cannot set the header for another site.
func refuseOtherSites(c *gin.Context) {
	if isFromOtherSite(c.Request) || c.GetHeader(ownHeader) == "" || c.ContentType() != "application/json" {
		refuse(c, http.StatusForbidden, notThisPage)
	}
}

const notThisPage = "The request does not come from this page."

// isFromOtherSite reports whether a page of another site makes the request. A browser says in
// Sec-Fetch-Site or, without TLS, in Origin where a request comes from.
func isFromOtherSite(r *http.Request) bool {
	r = r.WithContext(r.Context()) // a shallow copy
	r.Method = http.MethodPost     // Check lets all others pass that only read
	return http.NewCrossOriginProtection().Check(r) != nil
}

// told is the answer to an action: a text for the page to show.
type told struct {
	Message string `json:"message"`
}

func refuse(c *gin.Context, status int, message string) {
	c.AbortWithStatusJSON(status, told{message})
}

// readBody decodes the body of a request. It answers the request and reports false if that fails.
func readBody(c *gin.Context, v any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		refuse(c, http.StatusBadRequest, "The request is not valid.")
		return false
	}
	return true
}

// actionContext returns the context of an action. It does not end when the page is closed: what an
// administrator has confirmed is done on all nodes.
func actionContext(c *gin.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.Request.Context()), actionTimeout)
}

// disconnect ends the streams of a user.
func (p *Page) disconnect(c *gin.Context) {
	var given struct{ User, Reason string }
	if !readBody(c, &given) {
		return
	}
	ctx, cancel := actionContext(c)
	defer cancel()
	reason := strings.TrimSpace(given.Reason)
	n, err := p.registry.Load().Disconnect(ctx, given.User, ginsse.Reason(reason))
	p.log(c, "disconnecting a user from the live page", given.User, err, slog.String("reason", reason))
	if err != nil {
		p.refuseFailed(c, err, "The log did not take the command. Streams on other nodes may still be open: try again.")
		return
	}
	c.JSON(http.StatusOK, told{fmt.Sprintf("Disconnected: %s on this node, and all on the others.", streams(n))})
}

// send sends a user a test event.
func (p *Page) send(c *gin.Context) {
	var given struct{ User, Type, Data string }
	if !readBody(c, &given) {
		return
	}
	ctx, cancel := actionContext(c)
	defer cancel()
	registry := p.registry.Load()
	receipt, err := registry.SendTo(ctx, given.User, ginsse.Event{Type: given.Type, Data: given.Data, TTL: testTTL})
	p.log(c, "sending a test event from the live page", given.User, err, slog.String("type", given.Type), slog.String("id", receipt.ID))
	if err != nil {
		p.refuseFailed(c, err, "The log did not take the event.")
		return
	}
	var where string
	switch {
	case receipt.Streams > 0:
		where = "The user has " + streams(receipt.Streams) + " on this node."
	case registry.Online(given.User):
		where = "The user is online at another node."
	default:
		where = "The user has no stream. A client that resumes within a minute gets it."
	}
	c.JSON(http.StatusOK, told{"Sent. " + where})
}

// log notes an action of an administrator on a user.
func (p *Page) log(c *gin.Context, message, user string, err error, attributes ...slog.Attr) {
	attributes = append(attributes, slog.String("user", user), slog.String("by", ginsse.UserID(c)), slog.String("address", c.ClientIP()))
	if err != nil {
		attributes = append(attributes, slog.Any("error", err))
	}
	p.cfg.Logger.LogAttrs(c.Request.Context(), slog.LevelInfo, message, attributes...)
}

// refuseFailed answers a request whose action has failed. The error itself goes to gin's error list.
func (p *Page) refuseFailed(c *gin.Context, err error, message string) {
	_ = c.Error(err)
	switch {
	case errors.Is(err, ginsse.ErrInvalidSubject):
		refuse(c, http.StatusBadRequest, "No user can have this ID.")
	case errors.Is(err, ginsse.ErrInvalidEvent):
		refuse(c, http.StatusBadRequest, "The type of an event is one line, and does not begin with \"sse.\".")
	case errors.Is(err, ginsse.ErrEventTooLarge):
		refuse(c, http.StatusBadRequest, "The text is too long.")
	case errors.Is(err, ginsse.ErrClosed):
		refuse(c, http.StatusServiceUnavailable, "This node is shutting down.")
	default:
		refuse(c, http.StatusBadGateway, message)
	}
}

// streams says how many streams there are.
func streams(n int) string {
	switch n {
	case 0:
		return "no stream"
	case 1:
		return "1 stream"
	}
	return fmt.Sprintf("%d streams", n)
}
