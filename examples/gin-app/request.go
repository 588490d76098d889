package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
)

const (
	maxBodyBytes = 64 << 10
	maxBodyTime  = 5 * time.Second
)

// limitBody bounds what a request may send. What says that it is too large is
// refused at once, by routes that read no body too; a GET has none to send.
func limitBody(c *gin.Context) {
	if c.Request.ContentLength > maxBodyBytes {
		fail(c, errTooLarge)
		return
	}
	if c.Request.Method == http.MethodGet && c.Request.ContentLength != 0 {
		fail(c, badRequest("a GET request has no body here"))
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
	// encoding/json would take null for an object, and make one character of all that
	// are malformed: of different passwords, too.
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) || !utf8.Valid(body) {
		return errMalformed
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}

// requiredText returns a field's text without the white space around it, or says what is
// wrong with it.
func requiredText(field, value string, most int) (string, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return "", invalid("%s is empty", field)
	}
	if n := utf8.RuneCountInString(value); n > most {
		return "", invalid("%s has %d characters; the most is %d", field, n, most)
	}
	return value, nil
}

// postID returns the ID of a post, as it is in a path or a query. What is no ID names no
// post.
func postID(value string) (int64, error) {
	id, err := strconv.ParseInt(value, 10, 64)
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
		return 0, badRequest("%s is not an integer from %d on", name, low)
	}
	return n, nil
}

const (
	defaultPage = 20
	maxPage     = 100
)

// queryPage returns which part of a list is asked for: at most limit of what is
// before an ID.
func queryPage(c *gin.Context) (before int64, limit int, err error) {
	if before, err = queryInt(c, "before", 1, newest); err != nil {
		return 0, 0, err
	}
	most, err := queryInt(c, "limit", 1, defaultPage)
	return before, int(min(most, maxPage)), err
}

var validKey = regexp.MustCompile(`^[!-~]{1,64}$`)

// idempotencyKey returns what a client calls its request, so that it can send it
// again when it has got no answer; "" if it has no name for it.
func idempotencyKey(c *gin.Context) (string, error) {
	switch keys := c.Request.Header.Values("Idempotency-Key"); {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1 || !validKey.MatchString(keys[0]):
		return "", badRequest("Idempotency-Key is not 1 to 64 visible ASCII characters")
	default:
		return keys[0], nil
	}
}
