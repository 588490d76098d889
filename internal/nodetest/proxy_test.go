package nodetest_test

import (
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/internal/nodetest"
)

// newServer returns the address of a server that sends its greeting on each connection, and then
// what it receives.
func newServer(t *testing.T, greeting string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				if _, err := io.WriteString(conn, greeting); err == nil {
					_, _ = io.Copy(conn, conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

func dial(t *testing.T, p *nodetest.Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// want reads a text.
func want(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(nodetest.Patience))
	buffer := make([]byte, len(text))
	if n, err := io.ReadFull(conn, buffer); err != nil || string(buffer) != text {
		t.Fatalf("read %q, %v, want %q", buffer[:n], err, text)
	}
}

// wantNothing fails if something comes within 50 ms, or if the connection ends.
func wantNothing(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
}

// wantDropped reads the end of a connection.
func wantDropped(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(nodetest.Patience))
	if n, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
}

func TestProxyStalls(t *testing.T) {
	t.Parallel()
	p := nodetest.NewProxy(t, newServer(t, "a"))
	conn := dial(t, p)
	want(t, conn, "a")
	p.Stall(true)
	send(t, conn, "b")
	wantNothing(t, conn)
	p.Stall(false)
	want(t, conn, "b")
}

func TestProxyDropsAndRefuses(t *testing.T) {
	t.Parallel()
	p := nodetest.NewProxy(t, newServer(t, "a"))
	conn := dial(t, p)
	want(t, conn, "a")
	p.Refuse(true)
	send(t, conn, "b")
	want(t, conn, "b") // connections that are open stay open
	wantDropped(t, dial(t, p))
	p.DropAll()
	wantDropped(t, conn)
	p.SetServer(newServer(t, "c"))
	p.Refuse(false)
	want(t, dial(t, p), "c")
}

// TestProxyJudgesAnswers drops a connection by its answer. After four bytes on another connection,
// it holds the answers on all of them.
func TestProxyJudgesAnswers(t *testing.T) {
	t.Parallel()
	p := nodetest.NewProxy(t, newServer(t, "a"))
	holding := make(chan struct{})
	hold := sync.OnceFunc(func() { close(holding) })
	p.OnAnswer(func(total int, data []byte) nodetest.Verdict {
		switch {
		case string(data) == "x":
			return nodetest.Drop
		case total > 4:
			hold()
			return nodetest.Hold
		}
		return nodetest.Forward
	})
	dropped, held, other := dial(t, p), dial(t, p), dial(t, p)
	for _, conn := range []net.Conn{dropped, held, other} {
		want(t, conn, "a")
	}
	send(t, dropped, "x")
	wantDropped(t, dropped)
	send(t, held, "bcd")
	want(t, held, "bcd")
	send(t, held, "e")
	<-holding
	wantNothing(t, held)
	send(t, other, "b")
	wantNothing(t, other)
}

func TestProxyIsSlow(t *testing.T) {
	t.Parallel()
	p := nodetest.NewProxy(t, newServer(t, "a"))
	conn := dial(t, p)
	want(t, conn, "a")
	p.SetRate(100)
	began := time.Now()
	send(t, conn, "0123456789") // the answer takes 0.1 s
	want(t, conn, "0123456789")
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}
