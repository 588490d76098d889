package client

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoffWait(t *testing.T) {
	t.Parallel()
	unavailable := func(d time.Duration) error {
		return fmt.Errorf("wrapped: %w", &StatusError{Status: http.StatusServiceUnavailable, RetryAfter: d})
	}
	asked := func(d time.Duration) error { return fmt.Errorf("wrapped: %w", &ReconnectError{Retry: d}) }
	for _, test := range []struct {
		name             string
		reconnectionTime time.Duration
		short, failures  int
		err              error
		want             time.Duration // without the random part
	}{
		{"after_a_stable_connection", time.Second, 0, 0, io.EOF, time.Second},
		{"first_failure", time.Second, 1, 1, io.EOF, time.Second},
		{"second_failure", time.Second, 2, 2, io.EOF, 2 * time.Second},
		{"fifth_failure", time.Second, 5, 5, io.EOF, 16 * time.Second},
		{"grown_to_the_most", time.Second, 6, 6, io.EOF, 30 * time.Second},
		{"stays_at_the_most", time.Second, math.MaxInt, math.MaxInt, io.EOF, 30 * time.Second},
		{"first_failure_after_short_ones", time.Second, 9, 1, io.EOF, time.Second},
		{"short_but_no_failure", time.Second, 9, 0, io.EOF, time.Second},
		{"zero_stable", 0, 0, 0, io.EOF, 0},
		{"zero_first_failure", 0, 1, 1, io.EOF, 0},
		{"zero_grows_from_a_floor", 0, 2, 2, io.EOF, 200 * time.Millisecond},
		{"zero_grows_on", 0, 4, 4, io.EOF, 800 * time.Millisecond},
		{"zero_grows_to_the_most", 0, 40, 40, io.EOF, 30 * time.Second},
		{"zero_first_short", 0, 1, 0, io.EOF, 0},
		{"zero_further_short", 0, 9, 0, io.EOF, 100 * time.Millisecond},
		{"asked_for_more_than_grown", 5 * time.Minute, 3, 3, io.EOF, 5 * time.Minute},
		{"retry_after", time.Second, 1, 1, unavailable(time.Minute), time.Minute},
		{"retry_after_shorter_than_grown", time.Second, 6, 6, unavailable(time.Second), 30 * time.Second},
		{"retry_after_over_the_limit", time.Second, 1, 1, unavailable(math.MaxInt64), time.Hour},
		{"reconnect", time.Second, 0, 0, asked(time.Minute), time.Minute},
		{"reconnect_at_once", time.Second, 1, 0, asked(0), 0},
		{"reconnect_at_once_again", time.Second, 2, 0, asked(0), 100 * time.Millisecond},
		{"reconnect_over_the_limit", time.Second, 1, 0, asked(math.MaxInt64), time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, random := range []float64{0, 0.5, math.Nextafter(1, 0)} {
				b := backoff{test.reconnectionTime, time.Hour, 30 * time.Second, func() float64 { return random }}
				want := test.want + time.Duration(random/2*float64(test.want))
				if got := b.wait(streak{test.short, test.failures}, test.err); got != want {
					t.Errorf("with %v at random, the wait is %v, want %v", random, got, want)
				}
			}
		})
	}
}

// With the largest durations a wait does not overflow to zero or less.
func TestBackoffDoesNotOverflow(t *testing.T) {
	t.Parallel()
	b := backoff{time.Second, math.MaxInt64, math.MaxInt64, func() float64 { return math.Nextafter(1, 0) }}
	b.retry(math.MaxInt64)
	const century = 100 * 365 * 24 * time.Hour
	for _, failures := range []int{0, 1, 2, 100} {
		if got := b.wait(streak{failures, failures}, io.EOF); got < century {
			t.Errorf("the wait after %d failures is %v", failures, got)
		}
	}
}

func TestStreak(t *testing.T) {
	t.Parallel()
	const stable, short = 10 * time.Second, 10*time.Second - 1
	for _, test := range []struct {
		name string
		end  ending
		want streak
	}{
		{"stable", ending{io.ErrUnexpectedEOF, stable, false}, streak{}},
		{"clean_without_an_event", ending{io.EOF, short, false}, streak{4, 3}},
		{"clean_after_an_event", ending{io.EOF, short, true}, streak{4, 0}},
		{"lost_after_an_event", ending{io.ErrUnexpectedEOF, short, true}, streak{4, 3}},
		{"wrapped_eof_after_an_event", ending{fmt.Errorf("making the request: %w", io.EOF), short, true}, streak{4, 3}},
		{"asked_to_reconnect", ending{&ReconnectError{}, short, false}, streak{4, 0}},
		{"refused", ending{&StatusError{}, 0, false}, streak{4, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := streak{3, 2}
			if s.add(test.end, stable); s != test.want {
				t.Errorf("the streak is %+v, want %+v", s, test.want)
			}
		})
	}
}

func TestBackoffLimitsTheRetryField(t *testing.T) {
	t.Parallel()
	b := backoff{time.Second, time.Hour, 30 * time.Second, func() float64 { return 0 }}
	for _, test := range []struct{ retry, want time.Duration }{
		{3 * time.Second, 3 * time.Second},
		{0, 0},
		{time.Hour, time.Hour},
		{math.MaxInt64, time.Hour},
	} {
		b.retry(test.retry)
		if got := b.wait(streak{}, io.EOF); got != test.want {
			t.Errorf("after a retry of %v the wait is %v, want %v", test.retry, got, test.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = math.MaxInt64 - math.MaxInt64%time.Second
		for value, want := range map[string]time.Duration{
			"":                     0,
			"0":                    0,
			"120":                  2 * time.Minute,
			"-1":                   0,
			"+1":                   0,
			"1.5":                  0,
			"soon":                 0,
			"99999999999":          most,
			"99999999999999999999": most,
			time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat): 90 * time.Second,
			time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
		} {
			if got := retryAfter(value); got != want {
				t.Errorf("Retry-After: %s is %v, want %v", value, got, want)
			}
		}
	})
}

func TestRetryTransient(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{
		201: false, 204: false, 301: false, 400: false, 401: false, 403: false, 404: false, 408: true, 410: false,
		424: false, 425: true, 426: false, 429: true, 500: true, 501: false, 502: true, 503: true, 504: true, 505: false,
		519: false, 520: true, 521: true, 522: true, 523: true, 524: true, 525: true, 526: true, 527: true, 528: false,
		529: true, 530: true, 531: false,
	} {
		if got := RetryTransient(status); got != want {
			t.Errorf("RetryTransient(%d) is %v", status, got)
		}
	}
}

func TestRetryPage(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]bool{
		"text/html": true, "application/xhtml+xml": true, "application/json": false, "text/plain": false, "": false,
	} {
		if got := RetryPage(contentType); got != want {
			t.Errorf("RetryPage(%q) is %v", contentType, got)
		}
	}
}

// Error texts go into logs, so they must not contain secrets of the URL or a header.
func TestRequestErrorTextContainsNoSecret(t *testing.T) {
	t.Parallel()
	request, err := http.NewRequest(http.MethodGet, "https://user:secret@example.com/a%20b?token=secret#secret", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("no route")
	got := newRequestError(request, cause)
	if want := "GET https://example.com/a%20b: no route"; got.Error() != want || !errors.Is(got, cause) {
		t.Errorf("the error is %q, want %q", got, want)
	}
	if got := newRequestError(&http.Request{}, cause).Error(); got != "GET: no route" {
		t.Errorf("for an empty request the error is %q", got)
	}
}
