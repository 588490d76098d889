package readiness

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Supported says whether the system has readiness sets. Without it, [New] fails.
const Supported = true

const (
	// batch is how many events are taken from the kernel at one time.
	batch = 128

	edgeTriggered = syscall.EPOLLET & 0xffffffff // the constant is negative
	readEvents    = syscall.EPOLLIN | syscall.EPOLLRDHUP | edgeTriggered
	writeEvents   = readEvents | syscall.EPOLLOUT
	closedEvents  = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
)

// Set is a set of sockets that are watched for events. It is an epoll(7) set.
//
// Events are edge-triggered: one comes when something happens, and is not repeated while nothing
// else does. A write that found the socket full is followed by an event when there is room again.
//
// An event does not use up its registration, so nothing is ever armed again. With one-shot events
// two goroutines can arm one registration for different events at the same time: the later call
// wins, and events are lost. Here [Set.WatchWrites] is the only change to a registration, and it
// only adds.
//
// Concurrency: all methods, from any goroutine.
//
// Ownership: the sockets stay the caller's. One that is closed leaves the set, unless its
// descriptor was duplicated, as by [net.TCPConn.File].
type Set struct {
	notify func(token uint64, e Events)
	file   *os.File        // the epoll descriptor; the runtime's poller waits until it is readable
	raw    syscall.RawConn // of file
	done   chan struct{}   // closed by the set's goroutine when it ends
	closed atomic.Bool
	waits  atomic.Uint64 // calls of epoll_wait(2), for tests
}

// New starts a set. It calls notify for each event, on the set's goroutine, one call at a time. The
// caller closes the set, which ends the goroutine.
//
// A call of notify delays all other events, so it should not block.
//
// The token is what the caller gave together with the socket. An event may be delivered after the
// socket was closed, even if its descriptor is in use again for another one: the kernel hands out
// many events at one time. So the token must tell the two apart. An index and a generation that
// changes with each use of the index do so; a descriptor does not.
func New(notify func(token uint64, e Events)) (*Set, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // else the runtime's poller does not take it
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	s := &Set{notify: notify, file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{})}
	s.raw, err = s.file.SyscallConn()
	if err == nil {
		err = s.file.SetDeadline(time.Time{}) // fails if the runtime's poller has not taken it
	}
	if err != nil {
		_ = s.file.Close()
		return nil, fmt.Errorf("waiting for an epoll descriptor: %w", err)
	}
	go s.run()
	return s, nil
}

// Add adds a socket, to be watched for bytes to read and for its end. What has happened before is
// reported, too. The caller keeps the descriptor open meanwhile.
//
// It returns [os.ErrClosed] if the set is closed, and errors of epoll_ctl(2) as they are. ENOSPC
// means that the user's limit of watches is reached.
func (s *Set) Add(fd int, token uint64) error {
	return s.control(fd, syscall.EPOLL_CTL_ADD, readEvents, token)
}

// WatchWrites watches a socket of the set for room to write, too. If there is room already, an
// event comes at once. So it may be called after a write that found the socket full, and misses
// nothing.
//
// One call is enough: whenever a later write finds the socket full, an event follows. Another call
// does no harm. The token replaces that of Add. Errors are as with [Set.Add].
func (s *Set) WatchWrites(fd int, token uint64) error {
	return s.control(fd, syscall.EPOLL_CTL_MOD, writeEvents, token)
}

// Close ends the set. The sockets stay open. When Close returns, notify is not running and will not
// be called again. It may be repeated.
//
// Close waits for a call of notify that is running, so notify must not call it.
func (s *Set) Close() error {
	var err error
	if !s.closed.Swap(true) {
		err = s.file.Close() // wakes the set's goroutine
	}
	<-s.done
	return err
}

// control changes a registration.
func (s *Set) control(fd, operation int, events uint32, token uint64) error {
	event := syscall.EpollEvent{Events: events, Fd: int32(token), Pad: int32(token >> 32)}
	var result error
	if err := s.raw.Control(func(epfd uintptr) {
		result = os.NewSyscallError("epoll_ctl", syscall.EpollCtl(int(epfd), operation, fd, &event))
	}); err != nil {
		return os.ErrClosed
	}
	return result
}

// run delivers events until the set is closed.
//
// It is the runtime's poller that waits, as for any other descriptor that has nothing to read:
// epoll_wait(2) itself never does here, so no thread is held.
func (s *Set) run() {
	defer close(s.done)
	events := make([]syscall.EpollEvent, batch)
	var n int
	var failed error
	take := func(epfd uintptr) (done bool) {
		s.waits.Add(1)
		for {
			n, failed = syscall.EpollWait(int(epfd), events, 0)
			if !errors.Is(failed, syscall.EINTR) {
				return n > 0 || failed != nil
			}
		}
	}
	for {
		err := s.raw.Read(take)
		if s.closed.Load() {
			return
		}
		if err = errors.Join(err, failed); err != nil {
			// Only a descriptor that is no longer the set's can be the reason. No stream would
			// hear of its client again.
			panic(fmt.Errorf("readiness: waiting for events: %w", err))
		}
		for _, event := range events[:n] {
			if s.closed.Load() {
				return
			}
			s.notify(uint64(uint32(event.Pad))<<32|uint64(uint32(event.Fd)), Events{
				Readable: event.Events&syscall.EPOLLIN != 0,
				Writable: event.Events&syscall.EPOLLOUT != 0,
				Closed:   event.Events&closedEvents != 0,
			})
		}
	}
}
