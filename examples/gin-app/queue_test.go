package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// takeAllSlots takes all slots of a queue until release is called.
func takeAllSlots(t *testing.T, q *queue) (release func()) {
	t.Helper()
	q.mu.Lock()
	slots := q.free
	q.mu.Unlock()
	leaves := make([]func(), slots)
	for i := range leaves {
		var err error
		if leaves[i], err = q.enter(t.Context(), requester{address: "198.51.100.1"}); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for _, leave := range leaves {
			leave()
		}
	}
}

// fillQueue takes all slots and all waiting places until release is called. Each place has an
// address of its own.
func fillQueue(t *testing.T, q *queue) (release func()) {
	t.Helper()
	leave := takeAllSlots(t, q)
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.places {
		q.join(&ticket{requester: newRequester(fmt.Sprint("192.0.2.", i), ""), ready: make(chan struct{})})
	}
	return func() {
		q.mu.Lock()
		q.waiting = nil
		clear(q.turns)
		q.mu.Unlock()
		leave()
	}
}

// crowd is a number of callers at a queue with one slot, in a bubble of synctest.
type crowd struct {
	queue  *queue
	order  []string // the labels of the calls that got a slot, in order
	failed map[string]error
	mu     sync.Mutex // guards order and failed
}

// newCrowd returns a crowd at a queue whose slot is taken until open is called.
func newCrowd(t *testing.T, places int) (c *crowd, open func()) {
	t.Helper()
	q := newQueue(1, places)
	leave, err := q.enter(t.Context(), requester{})
	if err != nil {
		t.Fatal(err)
	}
	return &crowd{queue: q, failed: make(map[string]error)}, func() {
		leave()
		synctest.Wait()
	}
}

// arrive starts a call and returns when it waits or has ended.
func (c *crowd) arrive(ctx context.Context, label, address, name string) {
	go func() {
		leave, err := c.queue.enter(ctx, newRequester(address, name))
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			c.failed[label] = err
			return
		}
		c.order = append(c.order, label)
		leave()
	}()
	synctest.Wait()
}

func TestQueueTakesTurns(t *testing.T) {
	t.Parallel()
	type caller struct{ label, address, name string }
	guessers := func(n int, address func(int) string, name func(int) string) []caller {
		made := make([]caller, n)
		for i := range made {
			made[i] = caller{fmt.Sprintf("guess %d", i), address(i), name(i)}
		}
		return made
	}
	same := func(value string) func(int) string { return func(int) string { return value } }
	each := func(format string) func(int) string {
		return func(i int) string { return fmt.Sprintf(format, i) }
	}
	for name, test := range map[string]struct {
		others []caller
		last   caller
		wait   int // the most calls that get a slot before the last one
	}{
		"one_name_is_guessed_from_one_address":    {guessers(150, same("192.0.2.1"), same("bob")), caller{"alice", "192.0.2.2", "alice"}, 1},
		"one_address_guesses_many_names":          {guessers(150, same("192.0.2.1"), each("bob%d")), caller{"alice", "192.0.2.2", "alice"}, 1},
		"the_name_is_guessed_from_another":        {guessers(150, same("192.0.2.1"), same("alice")), caller{"alice", "192.0.2.2", "alice"}, 1},
		"all_come_from_the_address_of_a_proxy":    {guessers(150, same("127.0.0.1"), same("bob")), caller{"alice", "127.0.0.1", "alice"}, 1},
		"one_network_has_many_ipv6_addresses":     {guessers(150, each("2001:db8::%x"), same("bob")), caller{"alice", "2001:db8:1::1", "alice"}, 1},
		"one_address_in_two_spellings":            {append(guessers(100, same("::ffff:192.0.2.1"), same("bob")), guessers(50, same("192.0.2.1"), same("bob"))...), caller{"alice", "192.0.2.2", "alice"}, 1},
		"names_that_cannot_be_are_one_name":       {guessers(150, same("127.0.0.1"), each("no name %d")), caller{"alice", "127.0.0.1", "alice"}, 1},
		"many_addresses_have_one_turn_each":       {guessers(150, each("192.0.2.%d"), same("bob")), caller{"alice", "198.51.100.7", "alice"}, 150},
		"one_address_and_name_is_first_come":      {guessers(150, same("127.0.0.1"), same("alice")), caller{"alice", "127.0.0.1", "alice"}, 150},
		"one_name_in_two_cases":                   {guessers(150, same("127.0.0.1"), same("BOB")), caller{"bob", "127.0.0.1", "bob"}, 150},
		"behind_a_proxy_each_name_has_one_turn":   {guessers(150, same("127.0.0.1"), each("bob%d")), caller{"alice", "127.0.0.1", "alice"}, 150},
		"a_full_queue_has_a_place_for_the_other":  {guessers(2*maxWaiting, same("192.0.2.1"), each("bob%d")), caller{"alice", "192.0.2.2", "alice"}, 1},
		"a_full_queue_has_a_place_for_the_name":   {guessers(2*maxWaiting, same("127.0.0.1"), same("bob")), caller{"alice", "127.0.0.1", "alice"}, 1},
		"a_full_queue_has_a_place_for_the_second": {append(guessers(2*maxWaiting, same("192.0.2.1"), same("bob")), caller{"other", "192.0.2.3", "carol"}), caller{"alice", "192.0.2.2", "alice"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, open := newCrowd(t, maxWaiting)
				for _, one := range append(test.others, test.last) {
					c.arrive(t.Context(), one.label, one.address, one.name)
				}
				open()
				if at := slices.Index(c.order, test.last.label); at < 0 || at > test.wait {
					t.Errorf("its turn is %d of %d, not after %d; the first are %q", at, len(c.order), test.wait, c.order[:min(5, len(c.order))])
				}
				if got := len(c.order) + len(c.failed); got != len(test.others)+1 {
					t.Errorf("%d of %d have an answer", got, len(test.others)+1)
				}
				if c.queue.free != 1 || len(c.queue.waiting) != 0 || len(c.queue.turns) != 0 {
					t.Errorf("the queue is left with %+v", c.queue)
				}
			})
		})
	}
}

func TestFullQueueRefusesTheBusiestRequester(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, open := newCrowd(t, 3)
		c.arrive(t.Context(), "first", "192.0.2.1", "alice")
		c.arrive(t.Context(), "second", "192.0.2.1", "alice")
		c.arrive(t.Context(), "third", "192.0.2.1", "bob")
		c.arrive(t.Context(), "too many", "192.0.2.1", "alice") // its own name has the most
		c.arrive(t.Context(), "other", "192.0.2.2", "carol")
		for _, label := range []string{"second", "too many"} {
			if !errors.Is(c.failed[label], errBusy) {
				t.Errorf("%s: %v", label, c.failed[label])
			}
		}
		open()
		if got := strings.Join(c.order, ", "); got != "first, other, third" {
			t.Errorf("called were %s", got)
		}
	})
}

func TestQueueDropsCallsWhoseContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, open := newCrowd(t, 2)
		ctx, cancel := context.WithCancelCause(t.Context())
		gaveUp := errors.New("gave up")
		c.arrive(ctx, "impatient", "192.0.2.1", "alice")
		c.arrive(t.Context(), "patient", "192.0.2.1", "bob")
		cancel(gaveUp)
		synctest.Wait()
		c.arrive(t.Context(), "next", "192.0.2.1", "carol") // takes the free place
		open()
		if got := strings.Join(c.order, ", "); got != "patient, next" || !errors.Is(c.failed["impatient"], gaveUp) {
			t.Errorf("called were %s; errors %v", got, c.failed)
		}
	})
}

// A call may be given a slot while its context ends. The slot must not get lost.
func TestQueueLosesNoSlot(t *testing.T) {
	t.Parallel()
	q := newQueue(1, maxWaiting)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go cancel()
			if leave, err := q.enter(ctx, newRequester("192.0.2.1", fmt.Sprint("name", i%7))); err == nil {
				leave()
			}
		})
	}
	wg.Wait()
	if q.free != 1 || len(q.waiting) != 0 || len(q.turns) != 0 {
		t.Errorf("the queue is left with %+v", q)
	}
}

// The right password is sent while the queue is full of guesses.
func TestPasswordGuessesDoNotBlockOtherUsers(t *testing.T) {
	t.Parallel()
	proxy := []string{"10.0.0.0/8"}
	type request struct{ remote, forwarded, name string }
	for name, test := range map[string]struct {
		proxies        []string
		guesser, other request
		status         int
	}{
		"from_another_address":             {nil, request{"192.0.2.1", "", "alice"}, request{"192.0.2.2", "", "alice"}, http.StatusOK},
		"from_the_same_address":            {nil, request{"127.0.0.1", "", "bob"}, request{"127.0.0.1", "", "alice"}, http.StatusOK},
		"behind_a_known_proxy":             {proxy, request{"10.0.0.1", "192.0.2.1", "alice"}, request{"10.0.0.1", "192.0.2.2", "alice"}, http.StatusOK},
		"behind_an_unknown_proxy":          {nil, request{"10.0.0.1", "192.0.2.1", "alice"}, request{"10.0.0.1", "192.0.2.2", "alice"}, http.StatusServiceUnavailable},
		"a_client_cannot_name_its_address": {proxy, request{"192.0.2.1", "192.0.2.9", "alice"}, request{"192.0.2.1", "192.0.2.2", "alice"}, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := newTestApp(t, appConfig{Database: inMemory, Demo: true, Proxies: test.proxies})
				a.passwords.queue.places = 8
				release := takeAllSlots(t, a.passwords.queue)
				signIn := func(from request, password string) (status func() int) {
					r := httptest.NewRequest(http.MethodPost, "/api/session", strings.NewReader(`{"name":"`+from.name+`","password":"`+password+`"}`))
					r.RemoteAddr = from.remote + ":1024"
					if from.forwarded != "" {
						r.Header.Set("X-Forwarded-For", from.forwarded)
					}
					w := httptest.NewRecorder()
					done := make(chan struct{})
					go func() {
						a.ServeHTTP(w, r)
						close(done)
					}()
					synctest.Wait() // the request waits in the queue, or is answered
					return func() int { <-done; return w.Code }
				}
				answers := make([]func() int, 2*a.passwords.queue.places)
				for i := range answers {
					answers[i] = signIn(test.guesser, "a guess")
				}
				right := signIn(test.other, demoPassword)
				release()
				if got := right(); got != test.status {
					t.Errorf("the right password is answered with %d, not %d", got, test.status)
				}
				refused := 0
				for _, answer := range answers {
					if answer() == http.StatusServiceUnavailable {
						refused++
					}
				}
				if refused < a.passwords.queue.places {
					t.Errorf("%d of %d guesses were refused", refused, len(answers))
				}
			})
		})
	}
}

func TestInvalidProxyAddressIsAnError(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), []string{"-proxy", "nonsense", "-db", inMemory}, io.Discard, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "proxies must be ") || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("error is %v", err)
	}
}
