package client

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"
)

// backoff says how long to wait before the next attempt: the reconnection time,
// as the standard has it (WHATWG HTML, section 9.2.3), doubled with each further
// failure in a row, plus up to a half of it, so that the clients of a server that
// was away do not come back together.
type backoff struct {
	reconnectionTime time.Duration // the server's last retry; until there is one, the client's own
	maxAsked         time.Duration // most that a server is obeyed
	maxGrown         time.Duration // most that failures make of it
	random           func() float64
}

// leastPause is the least wait after the second connection in a row that was short, and
// what failures double if the server has asked for less. Without it a server that asks
// for no wait and ends each stream at once would be asked again without a pause.
const leastPause = 100 * time.Millisecond

// longestWait keeps sums from overflowing.
const longestWait = math.MaxInt64 / 2

// retry takes up a retry field.
func (b *backoff) retry(d time.Duration) { b.reconnectionTime = min(d, b.maxAsked) }

// streak counts the attempts in a row that ended before they were stable.
type streak struct {
	short    int // lived less than StableAfter
	failures int // of these, the last ones that failed
}

// add takes up the end of an attempt.
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

// wait returns the wait after a streak whose last attempt ended with err. The first
// failure does not make it longer: the connection may just have been lost, with the
// server in good health. That the server is down is known when the second one fails.
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

// RetryTransient is a [Config.RetryStatus] for the statuses that usually pass: 408,
// 425, 429, 500, 502, 503 and 504, and those with which a CDN reports on the server
// behind it: 520 to 527, 529 and 530.
func RetryTransient(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, 529, 530:
		return true
	default:
		return status >= 520 && status <= 527
	}
}

// RetryPage is a [Config.RetryContentType] for a page of HTML: a proxy shows one with
// status 200 while a server is being maintained, and a captive portal until the user has
// signed in.
func RetryPage(contentType string) bool {
	return contentType == "text/html" || contentType == "application/xhtml+xml"
}

// retryAfter returns what a Retry-After asks for (RFC 9110, section 10.2.3): so many
// seconds, or until a date. 0 stands for nothing, and for what is neither.
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
