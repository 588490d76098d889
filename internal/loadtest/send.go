package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Placeholders are what [Send] may contain: the mark by which an event is found, its number among
// all events, the time, and the user's name.
const (
	PlaceholderMark   = "{{.Mark}}"
	PlaceholderNumber = "{{.N}}"
	PlaceholderTime   = "{{.Time}}"
	PlaceholderUser   = "{{.User}}"
)

// NamesUsers reports whether the events go to users.
func (s *Send) NamesUsers() bool {
	return strings.Contains(s.URL, PlaceholderUser) || strings.Contains(s.Body, PlaceholderUser)
}

// sender sends the events of a run.
type sender struct {
	run     *run
	cfg     *Send
	users   []string  // those that the events go to; nil if they go to all streams
	sources []*source // one for each user, else one for each of the requests at the same time

	started atomic.Int64 // events

	mu      sync.Mutex // guards the fields below
	answers histogramMax
	failed  map[string]int
	first   string        // what the first failed request was answered
	behind  time.Duration // most that an event was sent after it was due
}

// source is a sequence of numbered events. Each is sent after the answer to the one before.
type source struct {
	mu   sync.Mutex // held during a request, which has a timeout
	sent int

	unsureMu sync.Mutex // guards the field below
	unsure   []int      // numbers of events whose request failed, so that they may not have been sent
}

func (f *source) addUnsure(number int) {
	f.unsureMu.Lock()
	defer f.unsureMu.Unlock()
	f.unsure = append(f.unsure, number)
}

// unsureNumbers returns the numbers of events that may not have been sent, in order. They must not be
// changed.
func (f *source) unsureNumbers() []int {
	f.unsureMu.Lock()
	defer f.unsureMu.Unlock()
	return f.unsure
}

func newSender(r *run) *sender {
	s := &sender{run: r, cfg: r.cfg.Send, failed: map[string]int{}}
	count := s.cfg.Parallel
	if s.cfg.NamesUsers() {
		for _, user := range r.cfg.Users {
			if !slices.Contains(s.users, user.Name) {
				s.users = append(s.users, user.Name)
			}
		}
		count = len(s.users)
	}
	for range count {
		s.sources = append(s.sources, &source{})
	}
	return s
}

// sendTimeout bounds one request.
const sendTimeout = 30 * time.Second

// send sends events until ctx ends, or all of them are sent.
func (s *sender) send(ctx context.Context) {
	begin := time.Now()
	var workers sync.WaitGroup
	for worker := range s.cfg.Parallel {
		workers.Go(func() {
			for s.sendNext(ctx, begin, worker) {
			}
		})
	}
	workers.Wait()
}

// sendNext waits until the next event is due, and sends it. It returns false if there is none.
func (s *sender) sendNext(ctx context.Context, begin time.Time, worker int) bool {
	n := int(s.started.Add(1) - 1)
	if limit := s.run.cfg.Events; limit > 0 && n >= limit {
		s.started.Add(-1)
		return false
	}
	due := begin.Add(time.Duration(float64(n) / s.cfg.Rate * float64(time.Second)))
	inTime := time.Now().Before(due)
	if !sleepUntil(ctx, due) {
		s.started.Add(-1)
		return false
	}
	// The latency counts from when the event is due. It would hide a server that stalls to count from the
	// request, which waits for the answer to the one before.
	counted := due
	if inTime {
		counted = time.Now() // the timer may have been late
	}
	i, user := worker, ""
	if s.users != nil {
		i = n % len(s.users)
		user = s.users[i]
	}
	from := s.sources[i]
	from.mu.Lock()
	defer from.mu.Unlock()
	number := from.sent
	from.sent++
	start := time.Now()
	m := mark{source: i, number: number, due: counted.Sub(s.run.begin)}
	// An event that is on its way when the run ends is still sent: otherwise it might be missing.
	err := s.post(context.WithoutCancel(ctx), m, n, user)
	took := time.Since(start)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind = max(s.behind, start.Sub(due))
	s.answers.record(took)
	if err != nil {
		from.addUnsure(number)
		if len(s.failed) == 0 {
			s.first = short(kindOf(err) + answerOf(err))
		}
		countKind(s.failed, kindOf(err))
	}
	return true
}

// post sends one event.
func (s *sender) post(ctx context.Context, m mark, n int, user string) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	fill := func(text string, escape func(string) string) string {
		return strings.NewReplacer(
			PlaceholderMark, string(m.append(slices.Clone(s.run.prefix))),
			PlaceholderNumber, strconv.Itoa(n),
			PlaceholderTime, time.Now().UTC().Format(time.RFC3339Nano),
			PlaceholderUser, escape(user),
		).Replace(text)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, fill(s.cfg.URL, url.PathEscape), strings.NewReader(fill(s.cfg.Body, jsonText)))
	if err != nil {
		return errors.New("the URL to send to is invalid")
	}
	request.Header = s.cfg.Header.Clone()
	request.Host = request.Header.Get("Host")
	response, err := s.cfg.Client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()                                    //nolint:errcheck // it was read
	answer, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // all of it, so that the connection is used again
	if response.StatusCode/100 != 2 {
		kind := fmt.Sprintf("status %d %s", response.StatusCode, http.StatusText(response.StatusCode))
		return refusal{kind: kind, answer: string(bytes.TrimSpace(answer))}
	}
	return nil
}

// answerOf returns what the server has said to a refused request, after a colon.
func answerOf(err error) string {
	var refused refusal
	if errors.As(err, &refused) && refused.answer != "" {
		return ": " + refused.answer
	}
	return ""
}

// jsonText returns text as it stands between the quotes of a JSON string.
func jsonText(text string) string {
	quoted, _ := json.Marshal(text) //nolint:errchkjson // a string has no error
	return string(quoted[1 : len(quoted)-1])
}

// sleepUntil waits for a time. It returns false if ctx ends before.
func sleepUntil(ctx context.Context, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
