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

// Control is what the driver may call of a server's process.
type Control struct {
	server  Server
	profile *os.File
}

// StartArgs name a contestant.
type StartArgs struct {
	Contestant string
	Settings   Settings
	Streams    int // the most that will be open at a time
}

// Start starts the contestant and answers with its address.
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

// SendArgs describe a series of events. Each carries its number among those of its
// stream and, with a Rate, the time that it was due; see [AppendData].
type SendArgs struct {
	First  int // number of the first one of the series, from 0
	Events int
	// For, if not 0, is how long to send for, instead of a number of events. The
	// series then ends with one event more for each stream, which says so.
	For   time.Duration
	Bytes int           // of each one's data
	Users int           // one after another is sent to in turn; 0 means that each event is for all
	Rate  int           // events per second; 0 means as fast as it goes
	Tick  time.Duration // with a Rate, how often the sender wakes to send what is due
	// Called has events carry the time of the call instead of that when it was due: for
	// what a single event takes, where the sender's own sleep would hide it.
	Called bool
	// Senders, if not 0, is how many send at the same time, each to users of its own. The
	// series has a number of events then.
	Senders int
}

// Sent says how many events a series had.
type Sent struct {
	Events int
	// Took is how long it took to send them: with a Rate it is longer than due if the
	// contestant has held the sender back.
	Took time.Duration
}

// Send sends a series.
func (c *Control) Send(args SendArgs, sent *Sent) error {
	if args.Senders == 0 {
		return c.send(args, sent, 0)
	}
	if args.For > 0 || args.Senders > args.Users {
		return fmt.Errorf("%d senders are for a number of events to as many users: %d, %v", args.Senders, args.Users, args.For)
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

// send sends what one of the senders has to.
func (c *Control) send(args SendArgs, sent *Sent, sender int) error {
	users := make([]string, args.Users)
	for i := range users {
		users[i] = UserName(i)
	}
	round := max(args.Users, 1) // gives each stream one event
	last := math.MaxInt         // where the last round begins, of a series that ends by time
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
			// Not the time of sending: a contestant that holds the sender back would make
			// its events look young. This way latency has what the sender oversleeps in it,
			// which is the same for all.
			due := args.due(start, i)
			time.Sleep(time.Until(due))
			if nanos = due.UnixNano(); args.Called {
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

// next is the first number from one on that a sender may have to send: behind the last
// user it is the first one's again.
func (args SendArgs) next(number, sender int) int {
	if args.Senders == 0 {
		return number
	}
	user := number % args.Users
	mine := (sender - user%args.Senders + args.Senders) % args.Senders
	return number + min(mine, args.Users-user)
}

// due is when the i-th event is to be sent: with a Tick, at the last one before its
// time.
func (args SendArgs) due(start time.Time, i int) time.Time {
	after := time.Duration(i) * time.Second / time.Duration(args.Rate)
	if args.Tick > 0 {
		after = after.Truncate(args.Tick)
	}
	return start.Add(after)
}

// Profile writes a CPU profile to a file until it is called with "".
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
