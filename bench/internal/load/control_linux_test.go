package load

import (
	"net"
	"net/rpc"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestControlIsCalledOverRPC(t *testing.T) {
	t.Parallel()
	control, err := NewControl()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		control.loader.Close()
		_ = unix.Close(control.loader.epoll)
	})
	server := rpc.NewServer()
	if err := server.RegisterName("Child", control); err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.ServeConn(far)
	}()
	client := rpc.NewClient(near)
	t.Cleanup(func() {
		_ = client.Close()
		<-done
	})
	call := func(method string, args, reply any) {
		t.Helper()
		if err := client.Call("Child."+method, args, reply); err != nil {
			t.Fatal(err)
		}
	}
	addr, streams := startServer(t)
	none := struct{}{}
	var took, used time.Duration
	call("Prepare", OpenArgs{Addrs: []string{addr}, Streams: 2, InFlight: 1, Limit: patience}, &none)
	call("Open", none, &took)
	if took <= 0 || took > patience {
		t.Errorf("Open took %v", took)
	}
	call("Expect", ExpectArgs{Events: 3}, &none)
	ends := []*served{within(t, "a stream", streams), within(t, "a stream", streams)}
	for _, end := range ends {
		end.write(t, 0, 3)
	}
	var waited, rested Waited
	begun := time.Now()
	call("Wait", WaitArgs{patience, patience}, &waited)
	if o := waited.Outcome; o.Delivered != 6 || o.Missing != 0 || waited.Last.After(time.Now()) || time.Since(begun) > patience {
		t.Errorf("%+v, %d missing, the last at %v", o.Tally, o.Missing, waited.Last)
	}
	close(ends[0].do)
	for rested.Outcome.Closed == 0 && time.Since(begun) < patience {
		call("Rest", 10*time.Millisecond, &rested)
	}
	if rested.Outcome.Closed != 1 || !rested.Last.IsZero() {
		t.Errorf("after one was ended: %+v", rested)
	}
	call("Expect", ExpectArgs{Events: 4}, &none)
	var over FailedOver
	args := FailoverArgs{Addrs: []string{addr}, InFlight: 1, Limit: patience, Quiet: patience}
	failing := client.Go("Child.Failover", args, &over, make(chan *rpc.Call, 1))
	close(ends[1].do)
	again := within(t, "a stream", streams)
	again.write(t, 3, 4)
	if err := within(t, "Failover", failing.Done).Error; err != nil {
		t.Fatal(err)
	}
	if o := over.Outcome; over.Reconnected != 1 || over.Back.Before(begun) || o.Delivered != 1 || o.Closed != 1 {
		t.Errorf("after one has reconnected: %+v", over)
	}
	call("Close", none, &none)
	within(t, "the end of a stream", again.disconnected)
	call("CPU", none, &used)
	if used <= 0 || used > time.Hour {
		t.Errorf("CPU returns %v", used)
	}
}
