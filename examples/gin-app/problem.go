package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
)

// problem is an error in a response: {"error": {"code", "message"}}. The texts of all other
// errors stay in the log.
type problem struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error implements error.
func (p *problem) Error() string { return p.Code + ": " + p.Message }

var (
	errMalformed    = &problem{http.StatusBadRequest, "invalid_request", "the body must be a JSON object with the fields of this route"}
	errWrongLogin   = &problem{http.StatusUnauthorized, "wrong_credentials", "the name or the password is wrong"}
	errSignedOut    = &problem{http.StatusUnauthorized, "invalid_token", "the session was signed out; sign in again"}
	errCrossSite    = &problem{http.StatusForbidden, "cross_site_request", "the request comes from a page of another site"}
	errNotAdmin     = &problem{http.StatusForbidden, "forbidden", "only an administrator may do this"}
	errNoSuchRoute  = &problem{http.StatusNotFound, "not_found", "there is nothing at this address"}
	errPostNotFound = &problem{http.StatusNotFound, "not_found", "there is no such post"}
	errKindNotFound = &problem{http.StatusNotFound, "not_found", "there is no such kind of reaction; use like, love or laugh"}
	errNameInUse    = &problem{http.StatusConflict, "name_taken", "the name is taken; choose another"}
	errOtherUser    = &problem{http.StatusConflict, "other_user", "another user is signed in now; reload the page"}
	errTooLarge     = &problem{http.StatusRequestEntityTooLarge, "too_large", "the body is larger than 64 KiB"}
	errKeyInUse     = &problem{http.StatusUnprocessableEntity, "key_reused", "this Idempotency-Key belongs to a different request; use a new one"}
	errBusy         = &problem{http.StatusServiceUnavailable, "busy", "too many sign-ins at the moment; try again in a few seconds"}
	errInternal     = &problem{http.StatusInternalServerError, "internal", "something went wrong here"}
)

// problemOf returns the problem to send for an error.
func problemOf(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, errNoSuchPost):
		return errPostNotFound
	case errors.Is(err, errNameTaken):
		return errNameInUse
	case errors.Is(err, errKeyReused):
		return errKeyInUse
	case errors.Is(err, errNoSuchUser):
		return errSignedOut // requests name no user but their own
	default:
		return errInternal
	}
}

// statusClientGone appears in the log only: the client has disconnected.
const statusClientGone = 499

// fail ends a request with the problem for err, and logs err.
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

// badRequest returns a problem with status 400, for a malformed request.
func badRequest(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "invalid_request", fmt.Sprintf(format, args...)}
}

// invalid returns a problem with status 422, for a field with an invalid value.
func invalid(format string, args ...any) error {
	return &problem{http.StatusUnprocessableEntity, "invalid", fmt.Sprintf(format, args...)}
}
