package ginsse

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/eventlog"
)

// RunConfig holds the settings of a registry's runs; see [Registry.Run]. Zero means default, negative
// means off.
type RunConfig struct {
	// MaxRuns is the most runs at a time on this node, and MaxRunsPerUser the most of one user. Beyond
	// them, Run returns [ErrTooManyRuns]. Defaults 1,000 and 8.
	MaxRuns        int
	MaxRunsPerUser int

	// MaxBytes is the most that one run may send, in wire form. Beyond it, [Run.Send] returns
	// [ErrRunTooLarge], and the events from before are kept. The log has its own bounds: an
	// [eventlog.MemoryLog] of the default size holds 16 MiB of one run, and 64 MiB of everything. With
	// the defaults, the runs of one user at a time send 8 x 1 MiB, an eighth of that. Those that have
	// ended stay in the log, so limit how often a user may start one. Default 1 MiB.
	MaxBytes int

	// FlushInterval is for how long events of a run are gathered into one entry of the log. After a
	// silence the next event goes out at once. A run that sends for minutes without a pause gathers
	// for longer, so that the log keeps all of it. Default 50 ms; at least 1 ms. It cannot be off.
	FlushInterval time.Duration
}

const (
	defaultMaxRuns        = 1000
	defaultMaxRunsPerUser = 8
	defaultMaxRunBytes    = 1 << 20
	defaultFlushInterval  = 50 * time.Millisecond
)

func (cfg RunConfig) resolve() (RunConfig, error) {
	for _, field := range []struct {
		value     *int
		otherwise int
	}{
		{&cfg.MaxRuns, defaultMaxRuns},
		{&cfg.MaxRunsPerUser, defaultMaxRunsPerUser},
		{&cfg.MaxBytes, defaultMaxRunBytes},
	} {
		switch {
		case *field.value == 0:
			*field.value = field.otherwise
		case *field.value < 0:
			*field.value = math.MaxInt
		}
	}
	switch {
	case cfg.FlushInterval == 0:
		cfg.FlushInterval = defaultFlushInterval
	case cfg.FlushInterval < time.Millisecond:
		return cfg, fmt.Errorf("FlushInterval is %v; the least is 1ms", cfg.FlushInterval)
	}
	return cfg, nil
}

// Run is work that outlives the request that has started it; see [Registry.Run].
//
// Concurrency: all methods may be called from several goroutines.
type Run struct {
	registry *Registry
	id       runID
	user     string
	subject  string // of what it sends
	control  string // of commands to it
	ctx      context.Context
	cancel   context.CancelCauseFunc // ends ctx
	done     chan struct{}           // closed when the end is in the log, or cannot be

	// awake holds a token when there is something to append, or the function has returned.
	awake   chan struct{}
	command *waker // when there may be a command

	mu       sync.Mutex    // guards the fields below; never held during I/O
	pending  []byte        // events that are not in an entry yet
	first    int64         // number of the first of them
	next     int64         // number of the next event
	bytes    int           // sent so far
	room     chan struct{} // closed when pending was taken, or the run has failed or ended; nil if no Send waits
	err      error         // why it has failed or ended
	returned bool          // the function has returned
	result   error         // why the function has not done all of the work; nil if it has

	// The fields below are those of the goroutine that appends.
	life       context.Context // ends a moment after the registry's
	appended   time.Time       // when the log took the last entry
	alive      time.Time       // when it last appended a sign of life, or began
	flushed    time.Time       // when events were last appended
	looked     time.Time       // when commands were last read
	commandsAt eventlog.Cursor // read through
	entries    int             // with events
	lost       bool            // another node has declared it lost
}

// Run starts work whose events outlive the request that starts it, such as the answer of a model or
// an export. produce runs on a goroutine of the registry, on this node. What it sends is kept in the
// log, for the user alone: [Registry.RunHandler] serves it from the beginning, on every node, as
// often as the user asks.
//
//	run, err := registry.Run(ctx, userID, func(ctx context.Context, run *ginsse.Run) error {
//		for token := range model.Tokens(ctx, question) {
//			if err := run.Send(ginsse.Event{Data: token}); err != nil {
//				return err
//			}
//		}
//		return nil
//	})
//
// ctx bounds only the start of the run. The ctx of produce has its values, and does not end with it.
// It ends when the run is stopped ([ErrRunStopped] is its cause then), when the log takes no more of
// the run, and when the registry is closed. [Registry.Shutdown] waits for produce as it waits for
// hooks; if its own ctx has a deadline, it ends the ctx of produce after three quarters of the time.
//
// If produce returns nil, the run is done. If it returns an error or panics, or its ctx has ended
// before it returned, the run has failed, and the registry logs why. A run that was stopped has ended
// as stopped, whatever produce returns.
// Clients that follow the run get what was sent, but no event of the kit: if they are to know how the
// work ended, produce sends an event that says so. It may still send for a moment after its ctx has
// ended.
//
// If this node crashes, the streams that follow the run end after about 30 s, as for a failed run.
// [Registry.Disconnect] ends such streams, and not the run.
//
// Errors: [ErrInvalidSubject], [ErrTooManyRuns], [ErrClosed], also while the registry shuts down, or
// the log's.
func (r *Registry) Run(ctx context.Context, userID string, produce func(ctx context.Context, run *Run) error) (*Run, error) {
	switch {
	case ctx == nil:
		return nil, errNilContext
	case produce == nil:
		return nil, errNilProduce
	}
	if err := checkName("user ID", userID); err != nil {
		return nil, err
	}
	run := &Run{
		registry: r,
		user:     userID,
		done:     make(chan struct{}),
		awake:    make(chan struct{}, 1),
		command:  newWaker(),
	}
	run.ctx, run.cancel = context.WithCancelCause(valuesOf(ctx))
	if err := r.addRun(run); err != nil {
		run.cancel(err)
		return nil, err
	}
	if err := run.start(ctx); err != nil {
		run.cancel(err)
		r.removeRun(run)
		return nil, err
	}
	var end context.CancelFunc
	run.life, end = context.WithCancel(context.Background())
	stop := context.AfterFunc(r.life, func() { //nolint:contextcheck // the run outlives the caller's context
		run.cancel(ErrClosed)
		time.AfterFunc(goodbyeTimeout, end)
	})
	unwatch := r.wakers.add(run.control, run.command)
	go func() { //nolint:contextcheck // as above
		defer r.removeRun(run)
		defer close(run.done)
		defer end()
		defer stop()
		defer unwatch()
		run.write()
	}()
	go run.call(produce)
	return run, nil
}

var errNilProduce = errors.New("ginsse: the function of a run is nil")

// valuesOf returns a context with the values of ctx, which does not end with it. A *gin.Context is not
// kept: gin uses it for another request.
func valuesOf(ctx context.Context) context.Context {
	if c, ok := ctx.Value(gin.ContextKey).(*gin.Context); ok {
		if c.Request == nil {
			return context.Background()
		}
		ctx = c.Request.Context()
	}
	return context.WithoutCancel(ctx)
}

// addRun takes a place for a run.
func (r *Registry) addRun(run *Run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state != stateOpen:
		return ErrClosed
	case len(r.runs) >= r.cfg.Run.MaxRuns:
		return fmt.Errorf("%w: the registry has %d; RunConfig.MaxRuns allows no more", ErrTooManyRuns, len(r.runs))
	case r.runsOf[run.user] >= r.cfg.Run.MaxRunsPerUser:
		return fmt.Errorf("%w: the user has %d; RunConfig.MaxRunsPerUser allows no more", ErrTooManyRuns, r.runsOf[run.user])
	}
	r.runs[run] = struct{}{}
	r.runsOf[run.user]++
	r.active++
	return nil
}

func (r *Registry) removeRun(run *Run) {
	r.mu.Lock()
	delete(r.runs, run)
	if r.runsOf[run.user]--; r.runsOf[run.user] == 0 {
		delete(r.runsOf, run.user)
	}
	r.mu.Unlock()
	r.leave()
}

// endRuns ends the contexts of all runs, and returns the runs.
func (r *Registry) endRuns(cause error) (runs []*Run) {
	r.mu.Lock()
	for run := range r.runs {
		runs = append(runs, run)
	}
	r.mu.Unlock()
	for _, run := range runs {
		run.cancel(cause)
	}
	return runs
}

// start gives the run its ID, and has the log note its beginning.
func (run *Run) start(ctx context.Context) error {
	head, err := run.registry.currentHead(ctx)
	if err != nil {
		return err
	}
	run.id, run.commandsAt = newRunID(head), head
	run.subject, run.control = run.id.subjects(run.user)
	_, err = run.registry.append(ctx, eventlog.Record{Subject: run.subject, Frame: append(appendRunHeader(nil, runHeader{kind: runBegin}), '\n')})
	now := time.Now()
	run.appended, run.alive, run.looked = now, now, now
	return err
}

// ID returns the ID by which the user's clients follow the run: see [Registry.RunHandler]. It is
// opaque and fit for a URL. It is of no use to other users.
func (run *Run) ID() string { return run.id.String() }

// UserID returns the user that the run belongs to.
func (run *Run) UserID() string { return run.user }

// Done returns a channel that is closed when the run has ended, and its end is in the log. [Run.Err]
// then says how.
func (run *Run) Done() <-chan struct{} { return run.done }

// Err returns nil while the run goes on, and if it is done. Otherwise it returns [ErrRunStopped], or
// what the run has failed with: what its function has returned, or the log's error.
func (run *Run) Err() error {
	select {
	case <-run.done:
	default:
		return nil
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	if errors.Is(run.err, errRunOver) {
		return nil
	}
	return run.err
}

// errRunOver is the err of a run that is done.
var errRunOver = errors.New("ginsse: the run has ended")

// Send sends an event to all clients that follow the run, now or later. It returns when the event is
// gathered. While 64 KiB wait for the log, Send waits for it. If the log takes nothing for 25 s, the
// run fails.
//
// Errors: [ErrInvalidEvent], also for an event with an ID; [ErrEventTooLarge]; [ErrRunTooLarge]; or
// why the run has failed or ended. The event is not kept.
func (run *Run) Send(e Event) error {
	if err := e.checkUnregistered(); err != nil {
		return err
	}
	b := borrowBuffer()
	defer b.release()
	if err := run.registry.encode(b, e, ""); err != nil {
		return err
	}
	event := b.bytes[:len(b.bytes)-len("\n")]
	for {
		room, err := run.gather(event)
		if err != nil || room == gathered {
			return err
		}
		<-room
	}
}

// gathered is the result of gather for an event that had room.
var gathered <-chan struct{}

// gather adds an event to those that are pending. If there is no room, it returns a channel that is
// closed when there may be.
func (run *Run) gather(event []byte) (room <-chan struct{}, err error) {
	run.mu.Lock()
	defer run.mu.Unlock()
	switch {
	case run.err != nil:
		return nil, run.err
	case run.returned:
		return nil, errRunOver
	case len(event) > run.registry.cfg.Run.MaxBytes-run.bytes:
		return nil, fmt.Errorf("%w: more than RunConfig.MaxBytes, %d", ErrRunTooLarge, run.registry.cfg.Run.MaxBytes)
	case len(run.pending) > 0 && len(run.pending)+len(event) > maxTurnBytes:
		if run.room == nil {
			run.room = make(chan struct{})
		}
		run.wake()
		return run.room, nil
	}
	if len(run.pending) > 0 {
		run.pending = append(run.pending, runSeparator...)
	}
	before := len(run.pending)
	run.pending = append(run.pending, event...)
	run.bytes += len(event)
	run.next++
	if before == 0 || before < fullEntry && len(run.pending) >= fullEntry {
		run.wake()
	}
	return gathered, nil
}

// fullEntry is the size from which events are not gathered any longer.
const fullEntry = maxTurnBytes / 2

func (run *Run) wake() {
	select {
	case run.awake <- struct{}{}:
	default:
	}
}

func (run *Run) makeRoomLocked() {
	if run.room != nil {
		close(run.room)
		run.room = nil
	}
}

// call calls the function of the run.
func (run *Run) call(produce func(ctx context.Context, run *Run) error) {
	err := errRunExited
	defer func() {
		if p := recover(); p != nil {
			run.registry.logPanic("a run", p, debug.Stack())
			err = fmt.Errorf("%w: panic: %v", errRunExited, p)
		}
		run.mu.Lock()
		run.returned, run.result = true, err
		run.makeRoomLocked()
		run.mu.Unlock()
		run.wake()
	}()
	err = produce(run.ctx, run)
	if cause := context.Cause(run.ctx); cause != nil && (err == nil || errors.Is(err, run.ctx.Err()) || errors.Is(cause, ErrRunStopped)) {
		err = cause // the work may be incomplete, whatever the function returns
	}
}

var errRunExited = errors.New("ginsse: the function of a run did not return")

// StopRun stops a run of a user, on whichever node it runs. It returns when the log has the command.
// The ctx of the run's function ends then, with the cause [ErrRunStopped], and the run ends when the
// function has returned. A run that has ended stays as it is.
//
// Errors: [ErrRunNotFound]; [ErrRunGone] if the log was recreated since, or has lost what it had of
// the run; [ErrInvalidSubject]; [ErrClosed]; or the log's.
func (r *Registry) StopRun(ctx context.Context, userID, runID string) error {
	if ctx == nil {
		return errNilContext
	}
	f, err := r.newFollower(userID, runID)
	if err != nil {
		return err
	}
	head, err := r.currentHead(ctx)
	if err != nil {
		return err
	}
	if err := f.findForStop(ctx, head); err != nil {
		return err
	}
	_, err = r.append(ctx, eventlog.Record{Subject: f.control, Frame: append(appendRunHeader(nil, runHeader{kind: runStop}), '\n')})
	return err
}

// StopRunHandler returns a handler that stops the run whose ID is a parameter of the route, for the
// user of the request. [Auth.RequireUser] must run before it. Its answers are 204, 404 for a run that
// the user does not have, 410 for one that is gone, 429 if the user asks more often than
// [RegistryConfig.MaxOpensPerMinute], and 503 if the log cannot take the command. Requests to
// [Registry.ControlHandler] count together with these.
//
//	r.DELETE("/runs/:id", auth.RequireUser(), registry.StopRunHandler("id"))
func (r *Registry) StopRunHandler(param string) gin.HandlerFunc {
	return func(c *gin.Context) {
		if UserID(c) == "" {
			r.refuseWithoutUser(c)
			return
		}
		if after := r.mayControl(UserID(c)); after > 0 {
			c.Header("Retry-After", strconv.FormatInt(int64(after/time.Second)+1, 10))
			abortJSON(c, http.StatusTooManyRequests, "too_many_requests", "the runs of this user are stopped too often")
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), headTimeout)
		defer cancel()
		if err := r.StopRun(ctx, UserID(c), c.Param(param)); err != nil {
			_ = r.refuseRun(c, err)
			return
		}
		c.Status(http.StatusNoContent)
	}
}
