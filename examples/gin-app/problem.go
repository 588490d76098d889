package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

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
	errTooLarge     = &problem{http.StatusRequestEntityTooLarge, "too_large", "the body is larger than 64 KiB"}
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
	c.AbortWithStatusJSON(p.Status, gin.H{"error": p})
}

// invalid is a request that is understood and cannot be done: 422.
func invalid(format string, args ...any) error {
	return &problem{http.StatusUnprocessableEntity, "invalid", fmt.Sprintf(format, args...)}
}

const (
	maxBodyBytes = 64 << 10
	maxBodyTime  = 10 * time.Second
)

// limitBody bounds what a request may send. What says that it is too large is
// refused at once, by routes that read no body too.
func limitBody(c *gin.Context) {
	if c.Request.ContentLength > maxBodyBytes {
		fail(c, errTooLarge)
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes)
}

// readJSON reads the request's body into v.
func readJSON(c *gin.Context, v any) error {
	// Less than the server's ReadTimeout: a body here is small. The error is of
	// writers that have no deadlines, such as a recorder.
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Now().Add(maxBodyTime))
	body, err := io.ReadAll(c.Request.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errTooLarge
	case err != nil:
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}

// text returns a field's text without the white space around it, or says what is
// wrong with it.
func text(field, value string, most int) (string, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return "", invalid("%s is empty", field)
	}
	if n := utf8.RuneCountInString(value); n > most {
		return "", invalid("%s has %d characters; the most is %d", field, n, most)
	}
	return value, nil
}

// postID returns the ID in the request's path. What is no ID names no post.
func postID(c *gin.Context) (int64, error) {
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil {
		return 0, errPostNotFound
	}
	return id, nil
}

// queryInt returns the integer, from low on, in a query parameter, or otherwise if
// the parameter is missing.
func queryInt(c *gin.Context, name string, low, otherwise int64) (int64, error) {
	value := c.Query(name)
	if value == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < low {
		return 0, &problem{http.StatusBadRequest, "invalid_request", fmt.Sprintf("%s is not an integer from %d on", name, low)}
	}
	return n, nil
}
