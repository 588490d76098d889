package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
)

// problem is an error as the client gets it: {"error": {"code", "message"}}. The
// texts of other errors never leave the server.
type problem struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error implements error.
func (p *problem) Error() string { return p.Code + ": " + p.Message }

var (
	errMalformed    = &problem{http.StatusBadRequest, "invalid_request", "the body is not the JSON object this route takes"}
	errWrongLogin   = &problem{http.StatusUnauthorized, "wrong_credentials", "the name or the password is wrong"}
	errSignedOut    = &problem{http.StatusUnauthorized, "invalid_token", "the session has been signed out"}
	errCrossSite    = &problem{http.StatusForbidden, "cross_site_request", "requests from other sites are not accepted here"}
	errNoSuchRoute  = &problem{http.StatusNotFound, "not_found", "there is nothing at this address"}
	errPostNotFound = &problem{http.StatusNotFound, "not_found", "there is no such post"}
	errKindNotFound = &problem{http.StatusNotFound, "not_found", "there is no such kind of reaction"}
	errTaken        = &problem{http.StatusConflict, "name_taken", "the name is taken"}
	errOtherUser    = &problem{http.StatusConflict, "other_user", "somebody else is signed in by now"}
	errTooLarge     = &problem{http.StatusRequestEntityTooLarge, "too_large", "the body is larger than 64 KiB"}
	errOtherRequest = &problem{http.StatusUnprocessableEntity, "key_reused", "the idempotency key is that of another request"}
	errBusy         = &problem{http.StatusServiceUnavailable, "busy", "too many people are signing in; try again in a moment"}
	errInternal     = &problem{http.StatusInternalServerError, "internal", "something went wrong here"}
)

// problemOf finds what to tell the client of an error.
func problemOf(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, errNoSuchPost):
		return errPostNotFound
	case errors.Is(err, errNameTaken):
		return errTaken
	case errors.Is(err, errKeyReused):
		return errOtherRequest
	case errors.Is(err, errNoSuchUser):
		return errSignedOut // the only user a request names is its own
	default:
		return errInternal
	}
}

// statusClientGone is for the log: nobody gets the answer.
const statusClientGone = 499

// fail answers c with what the client may know of err, and keeps err for the log.
func fail(c *gin.Context, err error) {
	_ = c.Error(err)
	p := problemOf(err)
	if p == errInternal && c.Request.Context().Err() != nil {
		c.AbortWithStatus(statusClientGone)
		return
	}
	if p.Status == http.StatusUnauthorized {
		c.Header("WWW-Authenticate", `Bearer realm="events"`) // RFC 9110, section 15.5.2
	}
	if p.Status == http.StatusServiceUnavailable {
		c.Header("Retry-After", "5") // seconds
	}
	c.AbortWithStatusJSON(p.Status, gin.H{"error": p})
}

// badRequest is a request that is not understood: 400.
func badRequest(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "invalid_request", fmt.Sprintf(format, args...)}
}

// invalid is a request that is understood and cannot be done: 422.
func invalid(format string, args ...any) error {
	return &problem{http.StatusUnprocessableEntity, "invalid", fmt.Sprintf(format, args...)}
}
