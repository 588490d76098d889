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
	bodyTimeout  = 5 * time.Second
)

// limitBody limits the body of a request to maxBodyBytes. It refuses a larger Content-Length
// before the handler runs, and every body of a GET request.
func limitBody(c *gin.Context) {
	if c.Request.ContentLength > maxBodyBytes {
		fail(c, errTooLarge)
		return
	}
	if c.Request.Method == http.MethodGet && c.Request.ContentLength != 0 {
		fail(c, badRequest("a GET request must not have a body"))
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes)
}

// readJSON decodes the body of a request into v. Errors: a [problem].
func readJSON(c *gin.Context, v any) error {
	// Bodies are small, so this deadline is shorter than the server's ReadTimeout. The error is
	// ignored: a test recorder has no deadlines.
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(c.Request.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errTooLarge
	case err != nil:
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	// encoding/json accepts null for an object. It also replaces invalid UTF-8, which would make
	// different passwords equal.
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) || !utf8.Valid(body) {
		return errMalformed
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}

// requiredText returns a text without the white space around it. The text must not be empty,
// nor longer than maxRunes.
func requiredText(field, value string, maxRunes int) (string, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return "", invalid("%s must not be empty", field)
	}
	if strings.ContainsRune(value, 0) { // Postgres cannot store it
		return "", invalid("%s must not contain the character U+0000", field)
	}
	if n := utf8.RuneCountInString(value); n > maxRunes {
		return "", invalid("%s has %d characters; at most %d are allowed", field, n, maxRunes)
	}
	return value, nil
}

// postID parses the ID of a post in a path or a query. Errors: [errPostNotFound].
func postID(value string) (int64, error) {
	id, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, errPostNotFound
	}
	return id, nil
}

// queryInt parses a query parameter as an integer that is at least lowest. It returns fallback
// if the parameter is missing.
func queryInt(c *gin.Context, name string, lowest, fallback int64) (int64, error) {
	value := c.Query(name)
	if value == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < lowest {
		return 0, badRequest("%s must be an integer of %d or more", name, lowest)
	}
	return n, nil
}

const (
	defaultPage = 20
	maxPage     = 100
)

// queryPage returns which page of a list a request asks for: at most limit items with IDs
// lower than before.
func queryPage(c *gin.Context) (before int64, limit int, err error) {
	if before, err = queryInt(c, "before", 1, newest); err != nil {
		return 0, 0, err
	}
	most, err := queryInt(c, "limit", 1, defaultPage)
	return before, int(min(most, maxPage)), err
}

var validKey = regexp.MustCompile(`^[!-~]{1,64}$`)

// idempotencyKey returns the Idempotency-Key header of a request, or "". With the same key a
// client can repeat a request whose response was lost.
func idempotencyKey(c *gin.Context) (string, error) {
	switch keys := c.Request.Header.Values("Idempotency-Key"); {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1 || !validKey.MatchString(keys[0]):
		return "", badRequest("Idempotency-Key must be sent once, with 1 to 64 visible ASCII characters")
	default:
		return keys[0], nil
	}
}
