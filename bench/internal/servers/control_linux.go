package servers

import (
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
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
}

// Start starts the contestant and answers with its address.
func (c *Control) Start(args StartArgs, addr *string) error {
	contestant, err := ByName(args.Contestant)
	if err != nil {
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
// stream and the time of its sending; see [AppendData].
type SendArgs struct {
	First  int // number of the first one of the series, from 0
	Events int
	Bytes  int           // of each one's data
	Users  int           // one after another is sent to in turn; 0 means that each event is for all
	Rate   int           // events per second; 0 means as fast as it goes
	Tick   time.Duration // with a Rate, how often the sender wakes to send what is due
}

// Send sends a series, and answers with how long that took.
func (c *Control) Send(args SendArgs, took *time.Duration) error {
	users := make([]string, args.Users)
	for i := range users {
		users[i] = UserName(i)
	}
	data := AppendData(nil, 0, 0, args.Bytes)
	start := time.Now()
	for i := range args.Events {
		if args.Rate > 0 {
			pace(start, i, args)
		}
		number, nanos := args.First+i, int64(0)
		// At full speed a sample of the times will do.
		if args.Rate > 0 || number/max(args.Users, 1)%16 == 0 {
			nanos = time.Now().UnixNano()
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
	*took = time.Since(start)
	return nil
}

// pace sleeps until the i-th event is due.
func pace(start time.Time, i int, args SendArgs) {
	due := start.Add(time.Duration(i) * time.Second / time.Duration(args.Rate))
	if args.Tick > 0 {
		due = start.Add(due.Sub(start).Truncate(args.Tick))
	}
	if d := time.Until(due); d > 0 {
		time.Sleep(d)
	}
}

// Stat is what a server process has used.
type Stat struct {
	CPU      time.Duration // since the start
	Peak     int64         // the most bytes in memory so far
	Resident int64         // bytes in memory, after a collection; only if it was asked for
}

// Stat answers with what the process has used. With memory it gives what is not in
// use back to the system first.
func (c *Control) Stat(memory bool, stat *Stat) error {
	var err error
	if stat.CPU, stat.Peak, err = child.Usage(); err != nil || !memory {
		return err
	}
	debug.FreeOSMemory()
	debug.FreeOSMemory() // what the first one's finalizers and pools let go
	stat.Resident, err = resident()
	return err
}

func resident() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, errors.New("no VmRSS in /proc/self/status")
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	return n << 10, err
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
