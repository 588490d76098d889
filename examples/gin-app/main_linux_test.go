package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
)

// A phone that changes networks does not close its connection. By default, TCP would keep the
// stream open for about 15 minutes.
func TestServerNoticesClientsThatVanish(t *testing.T) {
	t.Parallel()
	a := newTestApp(t, appConfig{})
	server := newServer(a, a.logger, false)
	var accepted atomic.Pointer[net.TCPConn]
	prepare := server.ConnContext
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		accepted.Store(conn.(*net.TCPConn))
		return prepare(ctx, conn)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, server, listener) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	response, err := (&http.Client{Transport: &http.Transport{}}).Get("http://" + listener.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := accepted.Load().SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const userTimeout = 18 // TCP_USER_TIMEOUT, in milliseconds
	var got int
	if e := raw.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	if got == 0 || got > 60_000 {
		t.Errorf("what is sent may stay unacknowledged for %d ms", got)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Error(err)
	}
}
