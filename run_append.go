package ginsse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// A run has a goroutine that appends what the run sends. Only that goroutine calls the methods of this
// file, except failLocked.

const (
	// A run's first entries follow each other after FlushInterval. Beyond runEntries the interval
	// doubles with each runDoubling more: to 0.2 s after two minutes without a pause, and 1.7 s after
	// ten. So a run has fewer entries than logs keep of one subject: about 3,700 after a day.
	runEntries  = 1000
	runDoubling = 220

	// aliveInterval is how often the node of a run appends a sign of life. Other nodes could not tell
	// a longer silence from a crash. They also find the run by it when its beginning has left the log.
	aliveInterval = 10 * time.Second
	// runPatience is for how long a run tries to append to a log that fails. Then the run fails. It
	// is over before another node declares the run lost.
	runPatience = 25 * time.Second
	// runSilence is after how long without an entry a run counts as lost.
	runSilence = 30 * time.Second
	// leastPatience is the least time for which a run tries to append.
	leastPatience = 15 * time.Second
	// controlInterval is how often the node of a run looks for commands without being notified.
	controlInterval = 10 * time.Second
)

// write appends what the run sends, until it has ended.
func (run *Run) write() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		run.mu.Lock()
		pending, returned, failed := len(run.pending), run.returned, run.err != nil
		run.mu.Unlock()
		due := never
		switch {
		case returned:
			run.end()
			return
		case failed: // and the function has not returned
		case pending >= fullEntry, pending > 0 && now.Sub(run.flushed) >= run.interval():
			run.flush()
			continue
		case pending > 0:
			due = run.interval() - now.Sub(run.flushed)
		}
		if run.registry.presence != nil && !failed {
			if now.Sub(run.alive) >= aliveInterval {
				run.beAlive()
				continue
			}
			due = min(due, aliveInterval-now.Sub(run.alive))
		}
		if now.Sub(run.looked) >= controlInterval {
			run.readCommands()
			continue
		}
		timer.Reset(min(due, controlInterval-now.Sub(run.looked)))
		select {
		case <-timer.C:
		case <-run.awake:
		case <-run.command.news:
			run.readCommands()
		}
	}
}

// interval returns for how long events are gathered now.
func (run *Run) interval() time.Duration {
	d := float64(run.registry.cfg.Run.FlushInterval)
	if over := run.entries - runEntries; over > 0 {
		d *= math.Exp2(float64(over) / runDoubling)
	}
	return time.Duration(min(d, float64(time.Hour)))
}

// flush appends the pending events as one entry.
func (run *Run) flush() {
	run.mu.Lock()
	events, first, next := run.pending, run.first, run.next
	run.pending, run.first = nil, next
	run.makeRoomLocked()
	run.mu.Unlock()
	frame := append(appendRunHeader(make([]byte, 0, len(events)+32), runHeader{kind: runEvents, first: first}), events...)
	err := run.append("", append(frame, '\n'))
	run.entries++
	run.flushed = time.Now()
	if err == nil {
		return
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	if isPermanent(err) { // the end must not claim events that the log cannot hold
		run.pending, run.next = nil, first
	} else { // the end takes them with it
		if len(run.pending) > 0 {
			events = append(append(events, runSeparator...), run.pending...)
		}
		run.pending = events
	}
	run.first = first
	run.failLocked(err)
}

// beAlive appends a sign of life.
func (run *Run) beAlive() {
	err := run.append(runAlive, append(appendRunHeader(nil, runHeader{kind: runAlive}), '\n'))
	run.alive = time.Now() // not before: a log that hangs must not keep the run from reading commands
	if err != nil {
		run.mu.Lock()
		defer run.mu.Unlock()
		run.failLocked(err)
	}
}

// failLocked has the run fail, unless it has.
func (run *Run) failLocked(err error) {
	if run.err == nil {
		run.err = err
		run.makeRoomLocked()
		run.cancel(err)
	}
}

// append appends an entry. While the log fails, it tries again for a while. Then the log may have the
// entry more than once: readers know a repeat by its numbers.
func (run *Run) append(key string, frame []byte) error {
	deadline := run.appended.Add(runPatience)
	if least := time.Now().Add(leastPatience); deadline.Before(least) {
		deadline = least
	}
	record := eventlog.Record{Subject: run.subject, Key: key, Frame: frame}
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		ctx, cancel := context.WithDeadline(run.life, deadline)
		begun := run.registry.appending()
		at, err := run.registry.log.Append(ctx, record)
		cancel()
		run.registry.appended(record, false, begun, err)
		if err == nil {
			run.appended = time.Now()
			if at.Epoch == run.registry.epoch.Load() {
				run.registry.seen(at.Seq)
			}
			return nil
		}
		if isPermanent(err) || time.Until(deadline) < pause {
			return tooLarge(err)
		}
		select {
		case <-time.After(pause):
		case <-run.life.Done():
			return err
		}
	}
}

// isPermanent reports whether the log will never take an entry.
func isPermanent(err error) bool {
	return errors.Is(err, eventlog.ErrTooLarge) || errors.Is(err, eventlog.ErrInvalidRecord)
}

// readCommands carries out the commands to the run.
func (run *Run) readCommands() {
	run.looked = time.Now()
	for more := true; more; {
		page, err := run.registry.log.Read(run.life, eventlog.Query{
			Subjects: []string{run.control}, After: run.commandsAt, MaxEntries: 16, MaxBytes: maxTurnBytes,
		}, nil)
		if err != nil || page.More && page.Through == run.commandsAt {
			return // later
		}
		for _, e := range page.Entries {
			switch h, _ := parseRunEntry(e); h.kind {
			case runStop:
				run.cancel(ErrRunStopped)
			case runLost:
				run.lost = true
				run.mu.Lock()
				run.failLocked(errRunLost)
				run.mu.Unlock()
			}
		}
		run.commandsAt, more = page.Through, page.More
	}
}

// errRunLost is the error of a run whose node was silent for too long.
var errRunLost = fmt.Errorf("%w: its node gave no sign of life for %v", ErrRunFailed, runSilence)

// end appends the end of the run, together with the last events.
func (run *Run) end() {
	run.mu.Lock()
	err := run.err
	if err == nil {
		err = run.result
	}
	h, events := runHeader{kind: runEnd, first: run.first, state: runDone}, run.pending
	run.pending = nil
	run.mu.Unlock()
	if err != nil {
		h.state = runFailed
		if errors.Is(err, ErrRunStopped) {
			h.state = runStopped
		}
	}
	if !run.lost {
		if failed := run.append("", append(append(appendRunHeader(nil, h), events...), '\n')); failed != nil && err == nil {
			err = failed
		}
	}
	if err != nil && !errors.Is(err, ErrRunStopped) {
		run.registry.logger.LogAttrs(run.ctx, slog.LevelWarn, "a run has failed", slog.String("user", run.user), slog.Any("error", err))
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	if run.err = err; err == nil {
		run.err = errRunOver
	}
	run.cancel(run.err)
}
