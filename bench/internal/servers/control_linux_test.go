package servers

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sent is an event that was sent to a contestant.
type sent struct {
	user   string // "" for all
	number int
	due    time.Duration // since the start; -1 if unknown, -2 if the event is marked as the last
	after  time.Duration // when it was sent, since the start
}

// script sends a series to a contestant that blocks for a while at one event, and returns
// what was sent.
func script(t *testing.T, args SendArgs, slow int, pause time.Duration) (list []sent, took time.Duration) {
	t.Helper()
	start := time.Now()
	take := func(user string, data []byte) error {
		number, nanos, ok := ParseData(data)
		if !ok || len(data) != args.Bytes {
			t.Errorf("the data is %q", data)
		}
		s := sent{user, number, -1, time.Since(start)}
		switch nanos {
		case 0:
		case LastNanos:
			s.due = -2
		default:
			s.due = time.Duration(nanos - start.UnixNano())
		}
		list = append(list, s)
		if len(list) == slow {
			time.Sleep(pause)
		}
		return nil
	}
	c := &Control{server: Server{SendTo: take, Broadcast: func(data []byte) error { return take("", data) }}}
	var all Sent
	if err := c.Send(args, &all); err != nil {
		t.Fatal(err)
	}
	if all.Events != len(list) {
		t.Errorf("Send reports %d events, want %d", all.Events, len(list))
	}
	return list, all.Took
}

const ms = time.Millisecond

func TestSendGivesEventsTheTimeTheyWereDue(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args  SendArgs
		slow  int
		pause time.Duration
		want  []sent
		took  time.Duration
	}{
		"in_time": {
			SendArgs{First: 7, Events: 3, Bytes: 40, Rate: 100}, 0, 0,
			[]sent{{"", 7, 0, 0}, {"", 8, 10 * ms, 10 * ms}, {"", 9, 20 * ms, 20 * ms}}, 20 * ms,
		},
		"blocked": {
			SendArgs{Events: 5, Bytes: 40, Rate: 100}, 2, 25 * ms,
			[]sent{{"", 0, 0, 0}, {"", 1, 10 * ms, 10 * ms}, {"", 2, 20 * ms, 35 * ms}, {"", 3, 30 * ms, 35 * ms}, {"", 4, 40 * ms, 40 * ms}}, 40 * ms,
		},
		"blocked_with_time_of_call": {
			SendArgs{Events: 5, Bytes: 40, Rate: 100, StampAtCall: true}, 2, 25 * ms,
			[]sent{{"", 0, 0, 0}, {"", 1, 10 * ms, 10 * ms}, {"", 2, 35 * ms, 35 * ms}, {"", 3, 35 * ms, 35 * ms}, {"", 4, 40 * ms, 40 * ms}}, 40 * ms,
		},
		"blocked_at_the_end": {
			SendArgs{Events: 2, Bytes: 40, Rate: 100}, 2, 25 * ms,
			[]sent{{"", 0, 0, 0}, {"", 1, 10 * ms, 10 * ms}}, 35 * ms,
		},
		"by_ticks": {
			SendArgs{Events: 5, Bytes: 40, Users: 2, Rate: 2000, Tick: ms}, 3, ms / 2,
			[]sent{{"user-0", 0, 0, 0}, {"user-1", 0, 0, 0}, {"user-0", 1, ms, ms}, {"user-1", 1, ms, ms + ms/2}, {"user-0", 2, 2 * ms, 2 * ms}}, 2 * ms,
		},
		"at_full_speed": {
			SendArgs{First: 4, Events: 4, Bytes: 40, Users: 3}, 2, ms,
			[]sent{{"user-1", 1, -1, 0}, {"user-2", 1, -1, 0}, {"user-0", 2, -1, ms}, {"user-1", 2, -1, ms}}, ms,
		},
		"at_full_speed_for_a_time": {
			SendArgs{First: 3, Bytes: 40, Users: 3, For: ms}, 2, 2 * ms,
			[]sent{{"user-0", 1, -1, 0}, {"user-1", 1, -1, 0}, {"user-2", 1, -1, 2 * ms}, {"user-0", 2, -2, 2 * ms}, {"user-1", 2, -2, 2 * ms}, {"user-2", 2, -2, 2 * ms}}, 2 * ms,
		},
		"broadcast_for_a_time": {
			SendArgs{Bytes: 40, For: ms}, 1, 2 * ms,
			[]sent{{"", 0, -1, 0}, {"", 1, -2, 2 * ms}}, 2 * ms,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				got, took := script(t, test.args, test.slow, test.pause)
				if !reflect.DeepEqual(got, test.want) || took != test.took {
					t.Errorf("%+v in %v\nwant %+v in %v", got, took, test.want, test.took)
				}
			})
		})
	}
}

// One sender is blocked at its first user until the other has sent all its events.
func TestSendersSendConcurrentlyToDifferentUsers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := make(map[string][]int)
		done := make(chan struct{})
		c := &Control{server: Server{SendTo: func(user string, data []byte) error {
			number, _, _ := ParseData(data)
			if user == "user-0" {
				<-done
			}
			mu.Lock()
			defer mu.Unlock()
			if got[user] = append(got[user], number); user == "user-3" && number == 4 {
				close(done)
			}
			return nil
		}}}
		all := new(Sent)
		if err := c.Send(SendArgs{First: 5, Events: 20, Bytes: 40, Users: 5, Senders: 2}, all); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if user := UserName(i); !slices.Equal(got[user], []int{1, 2, 3, 4}) {
				t.Errorf("%s got %v", user, got[user])
			}
		}
		if all.Events != 20 {
			t.Errorf("Send reports %d events", all.Events)
		}
	})
}

func TestSendersNeedANumberOfEventsAndEnoughUsers(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]SendArgs{
		"broadcast":       {Events: 9, Senders: 2},
		"more_than_users": {Events: 9, Users: 3, Senders: 4},
		"for_a_time":      {For: ms, Users: 3, Senders: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := new(Control).Send(args, new(Sent)); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestSendNamesTheEventThatFailed(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	c := &Control{server: Server{Broadcast: func(data []byte) error {
		if number, _, _ := ParseData(data); number == 3 {
			return refused
		}
		return nil
	}}}
	err := c.Send(SendArgs{First: 1, Events: 9, Bytes: 40}, new(Sent))
	if !errors.Is(err, refused) || !strings.HasPrefix(err.Error(), "event 3: ") {
		t.Errorf("the error is %v", err)
	}
}

func TestStartReturnsTheAddress(t *testing.T) {
	t.Parallel()
	var addr string
	if err := new(Control).Start(StartArgs{Contestant: "floor", Streams: 10}, &addr); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	token, err := Token("user-0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET /events HTTP/1.1\r\nAuthorization: Bearer %s\r\n\r\n", token); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, len("HTTP/1.1 200 OK"))
	if _, err := conn.Read(head); err != nil || !bytes.Equal(head, []byte("HTTP/1.1 200 OK")) {
		t.Errorf("it answers %q, %v", head, err)
	}
	_ = conn.Close()
}

func TestStartRejectsMoreStreamsThanTheFileLimit(t *testing.T) {
	t.Parallel()
	var addr string
	err := new(Control).Start(StartArgs{Contestant: "floor", Streams: 1 << 40}, &addr)
	if err == nil || !strings.HasPrefix(err.Error(), "RLIMIT_NOFILE: ") || addr != "" {
		t.Errorf("it starts on %q, %v", addr, err)
	}
}
