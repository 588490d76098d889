package eventlog

import (
	"errors"
	"fmt"
	"log/slog"
)

// ConfirmContact says that the store answers now, and that the window has what the store had a
// moment ago. A tail that catches up, after Reset or a reconnect, calls it when it has caught up.
// It reports whether contact had been lost; then it calls the watchers for entries of any subject.
func (w *Window) ConfirmContact() (regained bool) {
	if w.failure.Swap(nil) != nil {
		w.cfg.Logger.Info("reading the log's store again", slog.String("store", w.cfg.Name))
	}
	before := w.contact.Swap(int64(w.clock.Age()) + 1) // never 0
	// The clock is read again: a reader may have found no contact just before the swap.
	if regained = before == 0 || int64(w.clock.Age())+1-before >= int64(w.cfg.ContactTimeout); regained {
		w.watchers.Call("", w.Visible().Seq)
	}
	return regained
}

// HasContact reports whether contact was confirmed within ContactTimeout.
func (w *Window) HasContact() bool {
	at := w.contact.Load()
	return at > 0 && int64(w.clock.Age())+1-at < int64(w.cfg.ContactTimeout)
}

// NoteFailure says why the tail cannot read the store. [Window.Ready] and [Window.Head] return it
// when contact is lost. The window logs the first failure after contact was confirmed at level warn,
// and at level info that contact was confirmed again.
func (w *Window) NoteFailure(err error) {
	if w.failure.Swap(&err) == nil {
		w.counts.failures.Add(1)
		w.cfg.Logger.Warn("cannot read the log's store", slog.String("store", w.cfg.Name), slog.Any("error", err))
	}
}

// Failure returns the last failure that was noted since contact was confirmed; nil if there is none.
func (w *Window) Failure() error {
	if err := w.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Ready returns nil if there is contact. Otherwise it returns [ErrUnavailable] with the last failure,
// or [ErrClosed]. It does not ask the store.
func (w *Window) Ready() error {
	switch {
	case w.life.Err() != nil:
		return ErrClosed
	case w.HasContact():
		return nil
	}
	if err := w.Failure(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, w.cfg.Name, err)
	}
	return fmt.Errorf("%w: %s does not answer", ErrUnavailable, w.cfg.Name)
}

// unavailable returns an error of the store as one of the log.
func (w *Window) unavailable(doing string, err error) error {
	if w.life.Err() != nil || errors.Is(err, ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("%w: %s: %s: %w", ErrUnavailable, w.cfg.Name, doing, err)
}
