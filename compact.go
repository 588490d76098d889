package ginsse

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"reflect"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/readiness"
	"github.com/ginsse/ginsse/internal/timerwheel"
)

// compact is what a compact stream has in place of a handler's goroutine: the connection that was
// taken over from net/http, and a state that says who writes to it.
//
// At most one goroutine writes a stream at a time: its handler until the connection is taken over,
// then one of the registry's writers, or one of its own while a write or the log may have to wait.
// Senders, the timer and the readiness set only wake it up: see the states below.
type compact struct {
	state   atomic.Uint32
	signals atomic.Uint32 // why the stream was woken up, beside news
	s       *Stream
	writers *writers
	next    *compact // in the queue of the writers; guarded by writers.mu

	// fd is the connection's descriptor. It is the stream's own, so nobody else can close it, and
	// its number cannot come to mean another connection. Without it, conn writes.
	fd      int
	conn    net.Conn        // what only conn can write, such as TLS; nil with fd, and once it is closed
	dog     *watchdog       // of writes of conn, which wait; nil without conn
	hooked  <-chan struct{} // closed when ConnectFunc has returned; nil without one
	reading atomic.Int32    // calls of receiveAside since its goroutine began; 0 if none runs
	unsent  atomic.Int32    // bytes of waiting that were not sent, without framing; 0 if none waits
	token   uint64          // in the readiness set; 0 if it is not there
	timer   timerwheel.Entry[*compact]

	// The fields below are those of the goroutine that writes the stream.
	waiting  *turn     // a turn that the client has not taken completely; nil if there is none
	sent     int       // bytes of it, with framing, that were sent
	writes   uint64    // number of the write that waits; each one that sends something is a new one
	progress *progress // when the client last took something of that write; nil if none waits
	watched  bool      // the readiness set reports when the socket takes more
	lastTurn bool      // the newest turn is the stream's last
	received int       // bytes that the client has sent after its request; of the reader, if one runs
	failed   error     // why nothing can be written any more

	// closeAfter is the age of the stream at which its connection is closed, after the last turn
	// was sent and the client has not closed its end. It is 0 before that.
	closeAfter time.Duration
}

// The states of a compact stream. News and signals move it from compactIdle to compactQueued or
// from compactRunning to compactAgain. Signals also move it from compactBlocked to compactQueued.
// Only the goroutine that writes the stream makes other changes. So no news is missed, and no
// stream is in the queue twice.
const (
	compactRunning uint32 = iota // a goroutine writes the stream; at first its handler
	compactAgain                 // the same, and it must look again before it leaves the stream
	compactIdle                  // nothing to write
	compactQueued                // waits for a writer
	compactBlocked               // waits until its client takes more; a signal wakes it, news does not
	compactClosed                // the connection is closed
)

// The signals that wake a stream up even if it waits for its client.
const (
	signalLook     uint32 = 1 << iota // its end, or a command
	signalDue                         // its timer has fired
	signalReadable                    // the client has sent something
	signalWritable                    // the client takes more
	signalGone                        // the client has closed its end
	signalExcess                      // the client has sent more than maxReceived
)

const (
	// lingerTime is how long the client may take to close its end after the last write. Closing a
	// connection with unread data resets it, and the client could lose the end of its stream.
	lingerTime = 500 * time.Millisecond
	// maxReceived is how many bytes a client may send after its request. They are discarded.
	maxReceived = 64 << 10
	// maxUnsent is how much a socket holds of what it could not send yet. It is two turns.
	maxUnsent = 2 * maxTurnBytes
	// maxTurns is how many turns of one stream a writer writes before it goes on to the next.
	maxTurns = 4
)

var (
	errClosedByClient = errors.New("ginsse: the client has closed the connection")
	errReceived       = fmt.Errorf("ginsse: the client has sent more than %d bytes after its request", maxReceived)
)

// checkCompact returns why the connection of a stream cannot be taken over; nil if it can be.
func checkCompact(c *gin.Context, s *Stream) error {
	header := s.loop.w.Header()
	switch {
	case !readiness.Supported:
		return errNeedsLinux
	case c.Request.ProtoMajor != 1 || c.Request.ProtoMinor != 1:
		return fmt.Errorf("%w: it needs HTTP/1.1, and this is %s; a proxy in front can speak HTTP/1.1 to the server",
			errNotCompact, c.Request.Proto)
	case header.Get("Trailer") != "" || header.Get("Transfer-Encoding") != "":
		return fmt.Errorf("%w: the response has a header Trailer or Transfer-Encoding; keep it off this route", errNotCompact)
	case !bodyComplete(c.Request):
		return fmt.Errorf("%w: the body of the request has not been read; read it before the stream opens", errNotCompact)
	}
	if w := foreignWriter(s.loop.w.ResponseWriter); w != nil {
		return fmt.Errorf("%w: %T stands between the stream and its connection; keep its middleware off this route",
			errNotCompact, w)
	}
	return nil
}

var (
	errNotCompact = errors.New("ginsse: StreamConfig.Compact has no effect")
	errNeedsLinux = fmt.Errorf("%w: it needs Linux", errNotCompact)
)

// foreignWriter returns the first writer that is neither gin's nor that of net/http for HTTP/1; nil
// if there is none. It may change or count what is written, or want to know of a Hijack.
func foreignWriter(w http.ResponseWriter) http.ResponseWriter {
	for {
		switch pointedType(w) {
		case "net/http.response":
			return nil
		case "github.com/gin-gonic/gin.responseWriter":
			w = w.(interface{ Unwrap() http.ResponseWriter }).Unwrap() //nolint:forcetypeassert // gin's has it
		default:
			return w
		}
	}
}

// pointedType returns the package and name of the type that w points to.
func pointedType(w http.ResponseWriter) string {
	t := reflect.TypeOf(w)
	if t.Kind() != reflect.Pointer {
		return ""
	}
	return t.Elem().PkgPath() + "." + t.Elem().Name()
}

// takeOver takes the connection over from net/http. The headers and the first block were sent. From
// then on the registry's writers write the stream.
func (k *compact) takeOver(c *gin.Context, hooked <-chan struct{}) error {
	s := k.s
	conn, more, err := s.loop.w.hijack(c)
	if err != nil {
		return err
	}
	if c.Request.Context().Err() != nil { // net/http may have read the end of the connection
		k.signals.Or(signalGone)
	}
	s.loop = nil
	k.hooked, k.timer.Value = hooked, k
	transport := transportOf(conn)
	if timeout := s.cfg.WriteTimeout; timeout > 0 { // after the timeout, which says more
		limitUnacknowledged(transport, max(userTimeout, timeout+5*time.Second))
	}
	if k.fd = noDescriptor; isPlain(conn) {
		if err := k.takeSocket(conn); err != nil {
			s.registry.warnNotWatched(c, err)
		}
	}
	if k.fd == noDescriptor {
		k.conn = conn
		abort := func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) } // in the past
		k.dog = &watchdog{s: s, timeout: s.cfg.WriteTimeout, conn: connectionBetween(transport), abort: abort}
		if !k.writers.addConn(k, transport) || more {
			k.receiveAside()
		}
	}
	k.setTimer()
	k.state.Store(compactQueued)
	k.writers.push(k)
	return nil
}

// takeSocket gives the stream a descriptor of its own in place of a connection, which it closes.
// After an error nothing has changed.
func (k *compact) takeSocket(conn net.Conn) error {
	fd, err := duplicate(conn)
	if err != nil {
		return err
	}
	if err := k.writers.add(k, fd); err != nil {
		_ = closeSocket(fd)
		return err
	}
	k.fd = fd
	limitUnsent(fd, maxUnsent)
	_ = conn.Close() // frees what net and the runtime keep for it
	return nil
}

// isPlain reports whether the bytes that are written to a connection are those that its socket
// gets. A type that embeds a connection may change them.
func isPlain(conn net.Conn) bool {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	default:
		return false
	}
}

// wakeUp has the stream looked at soon, because of news or a signal.
func (k *compact) wakeUp(signal uint32) {
	if signal != 0 {
		k.signals.Or(signal)
	}
	for {
		switch state := k.state.Load(); {
		case state == compactIdle, state == compactBlocked && signal != 0:
			if k.state.CompareAndSwap(state, compactQueued) {
				k.writers.push(k)
				return
			}
		case state == compactRunning:
			if k.state.CompareAndSwap(state, compactAgain) {
				return
			}
		default:
			return
		}
	}
}

// isWriting reports whether a goroutine writes the stream, or a write waits until the client takes more.
func (k *compact) isWriting() bool {
	switch k.state.Load() {
	case compactRunning, compactAgain, compactBlocked:
		return true
	default:
		return false
	}
}

// outcome says what the goroutine that writes a stream does after one call of advance.
type outcome int

const (
	outcomeMore    outcome = iota // go on with the stream
	outcomeIdle                   // leave it until it is woken up
	outcomeBlocked                // leave it until it gets a signal
	outcomeAlone                  // go on where a write or the log may wait
	outcomeClosed                 // the connection is closed
)

// run writes the stream until there is nothing to do, or it must wait. A writer runs streams from
// the queue. alone says that run has a goroutine of its own, which may wait for the client and the
// log.
func (k *compact) run(w *workspace, alone bool) {
	defer k.recoverPanic(w)
	k.state.Store(compactRunning)
	if k.dog != nil && !alone {
		go k.runAlone()
		return
	}
	for turns := 1; ; turns++ {
		switch k.advance(w, alone) {
		case outcomeMore:
			if turns >= maxTurns && !alone {
				k.state.Store(compactQueued)
				k.writers.push(k)
				return
			}
		case outcomeIdle:
			if k.state.CompareAndSwap(compactRunning, compactIdle) {
				return
			}
			k.state.Store(compactRunning) // it was woken up meanwhile
		case outcomeBlocked:
			k.state.Store(compactBlocked)
			if k.signals.Load() == 0 || !k.state.CompareAndSwap(compactBlocked, compactRunning) {
				return
			}
		case outcomeAlone:
			go k.runAlone()
			return
		case outcomeClosed:
			return
		}
	}
}

// runAlone runs the stream on a goroutine of its own.
func (k *compact) runAlone() {
	w := borrowWorkspace()
	defer w.release()
	k.run(w, true)
}

// recoverPanic ends the stream after a panic, for example in a log. The other streams go on.
func (k *compact) recoverPanic(w *workspace) {
	if p := recover(); p != nil {
		go k.s.registry.logPanic("writing a stream", p, debug.Stack()) // as a logger may wait
		w.turn = new(turn)
		k.s.end(ReasonFailed)
		k.close()
	}
}

// advance does one thing: it notices what has happened, writes one turn, or ends the stream.
func (k *compact) advance(w *workspace, alone bool) outcome {
	signals := k.signals.Swap(0)
	if signals&signalReadable != 0 {
		k.receive(w)
	}
	switch {
	case signals&signalExcess != 0:
		k.fail(errReceived)
	case signals&signalGone != 0:
		k.fail(errClosedByClient)
	}
	due := signals&signalDue != 0
	s := k.s
	s.noWait = !alone
	if due {
		if reason := s.overdue(time.Now()); reason != "" {
			s.end(reason)
		}
	}
	if k.waiting != nil && k.failed == nil {
		if o := k.resume(w, signals); o != outcomeMore && k.failed == nil {
			return o
		}
		due = true // its timer was set for the write, and may hide that a heartbeat is due
	}
	switch {
	case k.failed != nil, k.closeAfter > 0 && time.Since(s.opened) >= k.closeAfter:
		k.close()
		return outcomeClosed
	case k.closeAfter > 0:
		return outcomeIdle
	}
	t := w.turn
	t.reset() // it may be what a connection that failed has not taken
	then := s.compose(k.writers.ctx, t, due)
	w.taken += len(t.entries)
	switch {
	case due && then == stepAlone:
		k.signals.Or(signalDue)
	case due || s.failing:
		k.setTimer()
	}
	k.lastTurn = then == stepClose
	if (!t.isEmpty() || k.lastTurn) && !k.write(w, t) {
		if k.failed == nil {
			w.turn = borrowTurn() // the stream keeps the one that waits
			k.await()
		}
		if k.failed != nil {
			k.close()
			return outcomeClosed
		}
		return outcomeBlocked
	}
	t.reset()
	switch then {
	case stepClose:
		return k.linger()
	case stepAlone:
		return outcomeAlone
	case stepWait:
		return outcomeIdle
	default:
		return outcomeMore
	}
}

// write writes what was not yet sent of a turn, and keeps the turn if the client does not take it
// completely. It reports whether everything was sent.
func (k *compact) write(w *workspace, t *turn) (complete bool) {
	w.begin(k)
	t.writeTo(w)
	if k.lastTurn {
		w.put(lastChunk)
	}
	if w.err != nil {
		k.fail(w.err)
	}
	if w.full || w.err != nil {
		k.waiting = t
		k.unsent.Store(int32(min(max(0, t.size()-k.sent), math.MaxInt32)))
		return false
	}
	if k.waiting != nil {
		k.unsent.Store(0)
	}
	k.waiting, k.sent = nil, 0
	if !t.isEmpty() {
		k.s.hasWritten(t)
	}
	return true
}

// lastChunk ends the chunked coding (RFC 9112, section 7.1).
var lastChunk = []byte("0\r\n\r\n")

// await has the stream look again when its client takes more, or has taken nothing for too long.
func (k *compact) await() {
	if !k.watched {
		k.watched = true
		if err := k.writers.watchWrites(k); err != nil {
			k.fail(err) // nothing would wake it up
			return
		}
	}
	k.writes++
	k.progress = &progress{made: time.Now()}
	k.setTimer()
}

// resume goes on with a turn that waits for its client. It returns outcomeMore when the turn is
// complete and was not the stream's last.
func (k *compact) resume(w *workspace, signals uint32) outcome {
	s, now := k.s, time.Now()
	stalled := false
	if signals&signalDue != 0 { // else the process may have been paused, and the client not asked since
		there, _ := connectionOfSocket(k.fd).delivery()
		k.progress.observe(k.writes, there, now)
		stalled = s.cfg.WriteTimeout > 0 && now.Sub(k.progress.made) >= s.cfg.WriteTimeout
	}
	if s.commanded.Load() != 0 { // a client that takes nothing must not keep its stream
		if _, err := s.readCommands(k.writers.ctx, false); s.noWait && errors.Is(err, eventlog.ErrWouldWait) {
			k.signals.Or(signals)
			return outcomeAlone
		}
	}
	if stalled || s.ended.Load() && !s.mayWrite(now) {
		k.fail(os.ErrDeadlineExceeded)
		return outcomeBlocked
	}
	if signals&signalWritable != 0 {
		t, before := k.waiting, k.sent
		if k.write(w, t) {
			t.release()
			k.progress = nil
			if k.lastTurn {
				return k.linger()
			}
			return outcomeMore
		}
		if k.sent > before {
			k.writes++
			k.progress.made = now
		}
	}
	if signals&signalDue != 0 { // no other signal may delay the next observation
		k.setTimer()
	}
	return outcomeBlocked
}

// setTimer sets the timer to when the stream is to be looked at again.
func (k *compact) setTimer() {
	now := time.Now()
	after := k.s.untilDue(now)
	if k.waiting != nil {
		after = checkInterval(k.s.cfg.WriteTimeout)
		if !k.s.ended.Load() {
			after = min(after, k.s.untilEnd(now))
		}
	}
	k.writers.timers.Set(&k.timer, after)
}

// receive discards what the client has sent.
func (k *compact) receive(w *workspace) {
	if k.conn != nil {
		k.receiveAside()
		return
	}
	for {
		n, empty, err := readSocket(k.fd, w.input[:])
		switch k.received += n; {
		case empty:
			return
		case err != nil || n == 0:
			k.fail(errClosedByClient)
			return
		case k.received > maxReceived:
			k.fail(errReceived)
			return
		}
	}
}

// receiveAside has a goroutine discard what the client has sent, as reading may wait. It reads
// until nothing comes for a second; from a connection that is not in the readiness set, until the
// end.
func (k *compact) receiveAside() {
	if k.reading.Add(1) > 1 {
		return // the reader looks again before it ends
	}
	conn, inSet := k.conn, k.token != 0
	go func() {
		var b [512]byte
		for {
			asked := k.reading.Load()
			if inSet {
				_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			}
			n, err := conn.Read(b[:])
			k.received += n
			switch {
			case err == nil && k.received <= maxReceived:
			case err != nil && inSet && errors.Is(err, os.ErrDeadlineExceeded):
				if k.reading.CompareAndSwap(asked, 0) {
					return
				}
			case err == nil:
				k.wakeUp(signalExcess)
				return
			default:
				k.wakeUp(signalGone)
				return
			}
		}
	}()
}

// fail records why nothing can be written any more, and ends the stream. The first cause counts.
func (k *compact) fail(cause error) {
	if k.failed != nil {
		return
	}
	k.failed = cause
	reason := ReasonClientGone
	if errors.Is(cause, os.ErrDeadlineExceeded) {
		reason = ReasonSlow
	}
	k.s.end(fmt.Errorf("%w: %w", reason, cause))
}

// linger closes the sending half of the connection after everything was sent, and gives the client
// time to close its own.
func (k *compact) linger() outcome {
	if k.closeWrite() != nil {
		k.close()
		return outcomeClosed
	}
	k.disconnected()
	k.closeAfter = time.Since(k.s.opened) + lingerTime
	k.writers.timers.Set(&k.timer, lingerTime)
	return outcomeIdle
}

func (k *compact) closeWrite() error {
	if k.conn == nil {
		return shutdownSocket(k.fd)
	}
	if closer, ok := k.conn.(interface{ CloseWrite() error }); ok {
		return closer.CloseWrite()
	}
	return errors.ErrUnsupported
}

// disconnected has DisconnectFunc called, unless linger has done so.
func (k *compact) disconnected() {
	if k.closeAfter == 0 {
		k.s.discardQueue()
		k.s.registry.disconnected(k.s, k.hooked)
	}
}

// close closes the connection. The application may keep the Stream, so nothing else is kept.
func (k *compact) close() {
	k.disconnected()
	k.state.Store(compactClosed)
	k.writers.timers.Stop(&k.timer)
	k.writers.remove(k)
	if k.dog != nil {
		k.dog.release()
	}
	if k.conn == nil {
		_ = closeSocket(k.fd)
	} else {
		_ = transportOf(k.conn).Close() // TLS would wait to send its end
	}
	k.conn, k.fd, k.dog, k.waiting, k.progress, k.hooked = nil, noDescriptor, nil, nil, nil, nil
	k.unsent.Store(0)
	k.s.registry.doneServing()
}
