package servers

import (
	"errors"
	"fmt"
	"log"
	"math"
	"net"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
)

// Control has the methods of a server's process that the driver may call.
type Control struct {
	server  Server
	profile *os.File
}

// StartArgs says which contestant to start.
type StartArgs struct {
	Contestant string
	Settings   Settings
	Streams    int // the most that will be open at a time
}

// Start starts the contestant and returns its address.
func (c *Control) Start(args StartArgs, addr *string) error {
	contestant, err := ByName(args.Contestant)
	if err != nil {
		return err
	}
	if err := child.Files(args.Streams); err != nil {
		return err
	}
	if c.server, err = contestant.New(args.Settings); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		return err
	}
	*addr = listener.Addr().String()
	go func() { log.Fatal(c.server.Serve(listener)) }()
	return nil
}

// SendArgs describes a series of events. Each has its number within its stream and, with a
// Rate, the time at which it was due; see [AppendData].
type SendArgs struct {
	First  int // number of the first event of the series, from 0
	Events int
	// For, if not 0, is how long to send, instead of a number of events. The series then
	// ends with one more event for each stream, marked as the last.
	For   time.Duration
	Bytes int           // of the data of each event
	Users int           // number of users, who get events in turn; 0 means broadcasts
	Rate  int           // events per second; 0 means at full speed
	Tick  time.Duration // with a Rate, how often the sender wakes to send what is due
	// StampAtCall makes events carry the time of the call, instead of the time at which they
	// were due. It is for the latency of single events, without the sender's oversleeping.
	StampAtCall bool
	// Senders, if not 0, is the number of goroutines that send at the same time, each to
	// other users. It needs a number of events.
	Senders int
}

// Sent is the result of sending a series.
type Sent struct {
	Events int
	// Took is how long it took to send them. With a Rate it is longer than due if the
	// contestant blocked the sender.
	Took time.Duration
}

// Send sends a series.
func (c *Control) Send(args SendArgs, sent *Sent) error {
	if args.Senders == 0 {
		return c.send(args, sent, 0)
	}
	if args.For > 0 || args.Senders > args.Users {
		return fmt.Errorf("%d senders need a number of events and at least as many users: %d, %v", args.Senders, args.Users, args.For)
	}
	failures := make([]error, args.Senders)
	var sending sync.WaitGroup
	start := time.Now()
	for i := range failures {
		sending.Go(func() { failures[i] = c.send(args, new(Sent), i) })
	}
	sending.Wait()
	*sent = Sent{args.Events, time.Since(start)}
	return errors.Join(failures...)
}

// send sends the events of one sender.
func (c *Control) send(args SendArgs, sent *Sent, sender int) error {
	users := make([]string, args.Users)
	for i := range users {
		users[i] = UserName(i)
	}
	round := max(args.Users, 1) // one event for each stream
	last := math.MaxInt         // where the last round begins, if a time ends the series
	data := AppendData(nil, 0, 0, args.Bytes)
	start := time.Now()
	for i := 0; args.For > 0 || i < args.Events; i++ {
		number, nanos := args.First+i, int64(0)
		if other := args.next(number, sender) - number; other > 0 {
			i += other - 1
			continue
		}
		if args.For > 0 && i%round == 0 && time.Since(start) > args.For {
			args.Events, args.For, last = i+round, 0, i
		}
		switch {
		case i >= last:
			nanos = LastNanos
		case args.Rate > 0:
			// Not the time of sending: the latency would leave out the time for which a
			// contestant blocks the sender. The latency includes the sender's oversleeping,
			// which is the same for all.
			due := args.due(start, i)
			time.Sleep(time.Until(due))
			if nanos = due.UnixNano(); args.StampAtCall {
				nanos = time.Now().UnixNano()
			}
		}
		var err error
		if args.Users > 0 {
			data = AppendData(data[:0], number/args.Users, nanos, args.Bytes)
			err = c.server.SendTo(users[number%args.Users], data)
		} else {
			data = AppendData(data[:0], number, nanos, args.Bytes)
			err = c.server.Broadcast(data)
		}
		if err != nil {
			return fmt.Errorf("event %d: %w", number, err)
		}
	}
	*sent = Sent{args.Events, time.Since(start)}
	return nil
}

// next returns the next event number, from the given one on, that this sender may have to
// send. After the last user the first one's turn comes again.
func (args SendArgs) next(number, sender int) int {
	if args.Senders == 0 {
		return number
	}
	user := number % args.Users
	mine := (sender - user%args.Senders + args.Senders) % args.Senders
	return number + min(mine, args.Users-user)
}

// due returns when to send the i-th event. With a Tick it is the last tick before the
// event's time.
func (args SendArgs) due(start time.Time, i int) time.Time {
	after := time.Duration(i) * time.Second / time.Duration(args.Rate)
	if args.Tick > 0 {
		after = after.Truncate(args.Tick)
	}
	return start.Add(after)
}

// Profile starts a CPU profile that is written to a file. With "" it ends the profile.
func (c *Control) Profile(file string, _ *struct{}) (err error) {
	if file == "" {
		pprof.StopCPUProfile()
		return c.profile.Close()
	}
	if c.profile, err = os.Create(file); err != nil { //nolint:gosec // the driver names it
		return err
	}
	return pprof.StartCPUProfile(c.profile)
}
