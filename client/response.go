package client

import (
	"bufio"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"
)

const (
	mediaType = "text/event-stream"

	// maxExcerptBytes and maxExcerptTime limit how much of a refusal is read, and for how long.
	maxExcerptBytes = 512
	maxExcerptTime  = 5 * time.Second
)

// check returns nil if the response is an event stream that the client can read. It reads the
// beginning of any other response. The caller closes the body.
func (c *Client) check(request *http.Request, response *http.Response) error {
	encoding := contentEncoding(response)
	isReadable := encoding == "" || encoding == gzipEncoding && asksForGzip(request)
	contentType := response.Header.Get("Content-Type")
	// Parameters make no difference, even malformed ones.
	essence, _, _ := strings.Cut(contentType, ";")
	essence = strings.ToLower(strings.Trim(essence, " \t"))
	if status := response.StatusCode; status != http.StatusOK {
		err := &StatusError{Status: status, RetryAfter: retryAfter(response.Header.Get("Retry-After"))}
		if isReadable && (strings.HasPrefix(essence, "text/") || strings.HasSuffix(essence, "json")) {
			err.Body = excerpt(decoded(response, response.Body))
		}
		if status != http.StatusNoContent && c.cfg.RetryStatus != nil && c.cfg.RetryStatus(status) {
			return err
		}
		return finalError{err}
	}
	if essence != mediaType {
		err := &ContentTypeError{ContentType: contentType}
		if c.cfg.RetryContentType != nil && c.cfg.RetryContentType(essence) {
			return err
		}
		return finalError{err}
	}
	if !isReadable {
		return finalError{&ContentTypeError{ContentType: contentType, ContentEncoding: response.Header.Get("Content-Encoding")}}
	}
	return nil
}

// excerpt returns the beginning of a refusal, as text on one line.
func excerpt(body io.Reader) string {
	beginning, _ := io.ReadAll(io.LimitReader(body, maxExcerptBytes))
	return printable(beginning)
}

// printable returns text on one line, without unprintable characters.
func printable(text []byte) string {
	line := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r): // text may end within a character
			return -1
		default:
			return r
		}
	}, string(text))
	return strings.Join(strings.Fields(line), " ")
}

const gzipEncoding = "gzip"

// contentEncoding returns how the response's body is compressed; "" if it is not.
func contentEncoding(response *http.Response) string {
	switch encoding := strings.ToLower(strings.Join(response.Header.Values("Content-Encoding"), ",")); encoding {
	case "identity":
		return ""
	case "x-gzip": // an alias (RFC 9110, section 8.4.1.3)
		return gzipEncoding
	default:
		return encoding
	}
}

// asksForGzip reports whether the request's Accept-Encoding names gzip (RFC 9110,
// section 12.5.3).
func asksForGzip(request *http.Request) bool {
	for _, value := range request.Header.Values("Accept-Encoding") {
		for element := range strings.SplitSeq(value, ",") {
			coding, weight, _ := strings.Cut(element, ";")
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case gzipEncoding, "x-gzip", "*":
				_, q, _ := strings.Cut(weight, "=")
				if q = strings.TrimSpace(q); q == "" || strings.Trim(q, "0.") != "" {
					return true
				}
			}
		}
	}
	return false
}

// decoded returns a reader that decompresses body if the response is in gzip.
func decoded(response *http.Response, body io.Reader) io.Reader {
	if contentEncoding(response) == gzipEncoding {
		return &gunzip{source: bufio.NewReader(body)}
	}
	return body
}

// gunzip decodes gzip as it arrives: it returns all that the server has flushed before it waits for
// more. It reads nothing before the first Read.
type gunzip struct {
	source *bufio.Reader
	member *gzip.Reader // nil before the first
	ended  bool         // the member was read to its end
}

// Read implements io.Reader.
func (g *gunzip) Read(p []byte) (int, error) {
	for {
		if err := g.begin(); err != nil {
			return 0, err
		}
		n, err := g.member.Read(p)
		if err != io.EOF { //nolint:errorlint // the end of a member is an unwrapped EOF
			return n, err
		}
		// Return the last bytes of the member before waiting for the next member.
		if g.ended = true; n > 0 {
			return n, nil
		}
	}
}

// begin reads the header of the next member if the current one has ended.
func (g *gunzip) begin() (err error) {
	switch {
	case g.member == nil:
		g.member, err = gzip.NewReader(g.source)
	case g.ended:
		err = g.member.Reset(g.source)
	default:
		return nil
	}
	if err == nil {
		g.ended = false
		g.member.Multistream(false)
	}
	return err
}
