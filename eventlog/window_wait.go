package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// waiter is a call of Wait whose sequence readers do not see yet.
type waiter struct {
	ready    chan struct{} // closed after the fields below were set, or at once
	entry    *WindowEntry  // nil if it is not held
	replaced bool
}

// Wait returns the position of an entry that an Append has stored, when Read sees it. The generation
// is from before the record was stored, and at is its position in the store. If the entry is not in
// memory any more, Wait returns at.
//
// at.Check, or the tag, tells the entry from another one that has its sequence later. Both may be 0. If
// the window is reset meanwhile and at.Check is not 0, Wait looks for the entry in what the window has
// then: the store may have another epoch and the same entries.
//
// Errors: [ErrNotVisible] with the cause, which is the end of ctx or [ErrReplaced]; [ErrClosed].
func (w *Window) Wait(ctx context.Context, generation uint64, at Cursor, tag uint32) (Cursor, error) {
	for {
		w.mu.Lock()
		wasReset := w.generation != generation
		if at.Check != 0 {
			generation = w.generation
		}
		one := w.newWaiterLocked(generation, at.Seq)
		w.mu.Unlock()
		if err := w.await(ctx, one); err != nil {
			w.forget(at.Seq, one)
			return Cursor{}, notVisible(err)
		}
		switch e := one.entry; {
		case one.replaced && at.Check != 0: // again, with what the window has now
		case one.replaced,
			e == nil && wasReset,
			e != nil && at.Check != 0 && e.At.Check != at.Check,
			e != nil && tag != 0 && e.Tag != tag:
			return Cursor{}, notVisible(ErrReplaced)
		case e == nil:
			return at, nil
		default:
			return e.At, nil
		}
	}
}

func notVisible(err error) error {
	if errors.Is(err, ErrClosed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotVisible, err)
}

// newWaiterLocked returns a waiter for a sequence, which is ready at once if readers see it.
func (w *Window) newWaiterLocked(generation, seq uint64) *waiter {
	one := &waiter{ready: make(chan struct{}), entry: w.at(seq), replaced: generation != w.generation}
	if one.replaced || seq <= w.head {
		close(one.ready)
	} else {
		w.waiting[seq] = append(w.waiting[seq], one)
	}
	return one
}

// await waits until a waiter is ready.
func (w *Window) await(ctx context.Context, one *waiter) error {
	select {
	case <-one.ready:
		return nil
	case <-w.life.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *Window) forget(seq uint64, one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := slices.DeleteFunc(w.waiting[seq], func(other *waiter) bool { return other == one })
	if w.waiting[seq] = list; len(list) == 0 {
		delete(w.waiting, seq)
	}
}

// releaseLocked ends the waiting for the sequences after one, up to the head.
func (w *Window) releaseLocked(after uint64) {
	release := func(seq uint64) {
		list, ok := w.waiting[seq]
		if !ok {
			return
		}
		e := w.at(seq)
		for _, one := range list {
			one.entry = e
			close(one.ready)
		}
		delete(w.waiting, seq)
	}
	if w.head == after+1 { // nearly always
		release(w.head)
		return
	}
	for seq := range w.waiting {
		if seq <= w.head {
			release(seq)
		}
	}
}

// lastCall is a call of Store.Last that calls of Head share, with the waiting for its answer.
type lastCall struct {
	done       chan struct{} // closed after the fields below were set
	generation uint64
	reached    *waiter // for the sequence that the store has named
	err        error
}

// Head implements [Log]. It asks the store for its last sequence, and waits for at most 4 s until
// Read sees that. Only one request is in progress at a time: calls that arrive meanwhile share the
// next one, because it has to begin after them.
//
// Errors: [ErrUnavailable] with the Store's, at once without contact; [ErrClosed].
func (w *Window) Head(ctx context.Context) (Cursor, error) {
	if err := w.Ready(); err != nil {
		return Cursor{}, err
	}
	at, err := w.askHead(ctx)
	if err != nil {
		return Cursor{}, w.unavailable("asking for the head", err)
	}
	return at, nil
}

// askHead is Head with contact. Its errors are not wrapped.
func (w *Window) askHead(ctx context.Context) (Cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return Cursor{}, ErrClosed
	}
	if w.nextLast == nil {
		w.nextLast = &lastCall{done: make(chan struct{})}
	}
	call := w.nextLast
	if !w.asking {
		w.asking = true
		w.running.Go(w.askLast)
	}
	w.mu.Unlock()
	select {
	case <-call.done:
	case <-w.life.Done():
		return Cursor{}, ErrClosed
	case <-ctx.Done():
		return Cursor{}, ctx.Err()
	}
	if call.err != nil {
		return Cursor{}, call.err
	}
	if err := w.await(ctx, call.reached); err != nil {
		return Cursor{}, err
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	if call.reached.replaced || w.generation != call.generation {
		return Cursor{}, ErrReplaced
	}
	return w.cursor(w.head), nil
}

// askLast calls Store.Last as long as calls of Head wait for it.
func (w *Window) askLast() {
	for {
		w.mu.Lock()
		call := w.nextLast
		if w.nextLast = nil; call == nil || w.closed {
			w.asking = false
			w.mu.Unlock()
			return
		}
		ctx, cancel := context.WithTimeout(w.life, storeTimeout)
		epoch := w.epoch
		call.generation = w.generation
		w.mu.Unlock()
		last, err := w.cfg.Store.Last(ctx)
		cancel()
		if err == nil && last.Epoch != epoch {
			err = ErrReplaced
		}
		if call.err = err; err == nil {
			w.mu.Lock()
			if call.generation == w.generation {
				w.NoteLast(last.Seq)
			}
			call.reached = w.newWaiterLocked(call.generation, last.Seq)
			w.mu.Unlock()
		}
		close(call.done)
	}
}
