package client

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"
)

// backoff computes the wait before the next attempt. It starts from the reconnection time (WHATWG
// HTML, section 9.2.3) and doubles it with each further failure in a row. A random part of up to
// half spreads out the clients of a server that restarts.
type backoff struct {
	reconnectionTime time.Duration // the server's last retry; before that, the client's setting
	maxAsked         time.Duration // the longest wait that a server can ask for
	maxGrown         time.Duration // the longest wait that failures lead to
	random           func() float64
}

// leastPause is the shortest wait after the second short connection in a row. If the server has
// asked for less, failures double leastPause instead. Without it, a client would hammer a server
// that asks for no wait and ends each stream at once.
const leastPause = 100 * time.Millisecond

// longestWait keeps additions from overflowing.
const longestWait = math.MaxInt64 / 2

// retry sets the reconnection time from a retry field.
func (b *backoff) retry(d time.Duration) { b.reconnectionTime = min(d, b.maxAsked) }

// streak counts the attempts in a row that ended before they were stable.
type streak struct {
	short    int // lived less than StableAfter
	failures int // how many of the last short ones failed in a row
}

// add counts an attempt that has ended.
func (s *streak) add(end ending, stableAfter time.Duration) {
	switch {
	case end.lived >= stableAfter:
		*s = streak{}
	case end.isAsked(), end.isClean() && end.delivered:
		*s = streak{short: s.short + 1}
	default:
		s.short++
		s.failures++
	}
}

// wait returns the wait after a streak whose last attempt ended with err. The first failure does
// not increase it, because a single lost connection does not mean that the server is down.
func (b *backoff) wait(s streak, err error) time.Duration {
	d := b.reconnectionTime
	if asked := (*ReconnectError)(nil); errors.As(err, &asked) {
		d = min(asked.Retry, b.maxAsked)
	}
	if s.short > 1 {
		d = max(d, min(leastPause, b.maxGrown))
	}
	limit := max(b.maxGrown, d)
	for range s.failures - 1 {
		if d > limit/2 {
			d = limit
			break
		}
		d *= 2
	}
	if status := (*StatusError)(nil); errors.As(err, &status) {
		d = max(d, min(status.RetryAfter, b.maxAsked))
	}
	d = min(d, longestWait)
	return d + time.Duration(b.random()/2*float64(d))
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// RetryTransient is a [Config.RetryStatus] that accepts statuses which are usually temporary. These
// are 408, 425, 429, 500, 502, 503 and 504, and those with which a CDN reports failures of the
// origin server: 520 to 527, 529 and 530.
func RetryTransient(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 529, 530:
		return true
	default:
		return status >= 520 && status <= 527
	}
}

// RetryPage is a [Config.RetryContentType] that accepts HTML pages. A proxy may serve one with
// status 200 during maintenance, and a captive portal until the user has signed in.
func RetryPage(contentType string) bool {
	return contentType == "text/html" || contentType == "application/xhtml+xml"
}

// retryAfter returns the wait that a Retry-After asks for (RFC 9110, section 10.2.3), in seconds or
// as a date. It returns 0 for any other value.
func retryAfter(value string) time.Duration {
	const most = math.MaxInt64 / uint64(time.Second)
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, most)) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, time.Until(date))
}
