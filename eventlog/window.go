package eventlog

import (
	"context"
	"errors"
	"log/slog"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/internal/clock"
)

// WindowConfig holds what a [Window] needs to know of its store. Zero means default.
type WindowConfig struct {
	// Store answers what the window cannot. Required.
	Store Store
	// Name is what errors and log records call the store, such as "the database". Default "the store".
	Name string
	// Logger gets a record at level warn when the log cannot read its store, and one at level info
	// when it can again. Default: discard.
	Logger *slog.Logger
	// Numbers says how the store numbers its entries. Default [NumbersGapless].
	Numbers Numbers
	// ContactTimeout is how long a node counts as connected after a call of
	// [Window.ConfirmContact]. Default 2 s.
	ContactTimeout time.Duration
	// StoreReads is the most calls of Read that ask the store at the same time. Others wait, so
	// that many resuming streams do not keep the store from appending. Default 16.
	StoreReads int
}

// Numbers says how a store numbers its entries, and so what a missing number means.
type Numbers int

const (
	// NumbersGapless: each number is used. If one is missing when an entry arrives, its entry has
	// left the store. The window discards what it holds from before it.
	NumbersGapless Numbers = iota
	// NumbersSparse: the store skips numbers. A missing number means nothing.
	NumbersSparse
	// NumbersDecided: each number is used, but the store also removes single entries. The window
	// hides what follows a missing number until the log calls [Window.ResolveHole] or
	// [Window.GiveUpHole].
	NumbersDecided
)

// WindowBounds are the bounds of a window, and those of its store that readers must meet alike on
// all nodes.
type WindowBounds struct {
	// Bytes bounds the memory of the entries, each counted with 320 bytes of bookkeeping, and with 64
	// more for its key and its attributes each. Of an entry that was replaced, 160 bytes remain. The
	// newest entry is always held.
	Bytes int
	// EntriesPerSubject is the most entries that the store keeps of one subject; 0 for no bound.
	// A reader that lags by more has a gap, though the entries may still be in memory. Entries that
	// were replaced do not count: a store with this bound removes them, or does not count them.
	EntriesPerSubject int64
	// MaxAge is how long the store keeps an entry; 0 for no bound.
	MaxAge time.Duration
}

// WindowEntry is an entry as it comes from the store. It never changes.
type WindowEntry struct {
	// Entry is the entry. If Block is empty, it has a place in the order but no reader gets it:
	// for something in the store that is not an event. If it has a key, it replaces the earlier
	// entry of its subject and key once readers see it.
	Entry
	// Time is when the store took the entry, by the store's clock. It is needed for MaxAge.
	Time time.Time
	// Tag tells [Window.Wait] whose entry this is, if Append does not know the Check; else 0.
	Tag uint32

	replaced bool // the window holds it in place of an entry that was replaced
}

// WindowEntryOverhead is what an entry counts for in [WindowBounds] beside its text.
const WindowEntryOverhead = 320

// replacedCost is what an entry that was replaced counts for.
const replacedCost = 160

func (e *WindowEntry) cost() int {
	if e.replaced {
		return replacedCost
	}
	return len(e.Block) + len(e.Subject) + WindowEntryOverhead + e.extraCost()
}

// Window holds the newest entries of a store in the memory of one node, in order. It is the part
// that logs on a shared store have in common; docs/writing-a-log.md leads through a log with one.
//
// The log has one goroutine, its tail, that reads the store in order. The tail calls
// [Window.Reset] with the position where it begins, [Window.Add] for each entry, and
// [Window.ConfirmContact] whenever it knows that the store answers, or [Window.NoteFailure]. The log's
// Read, Head, Watch and Ready are those of the window. Its Append stores the record and calls
// [Window.Wait].
//
// The window ends at its tip, the newest entry added. Readers see it up to its head. The head is
// behind the tip only while there is a hole; see [NumbersDecided].
//
// Concurrency: all methods may be called from several goroutines, but only the tail calls those
// that change what is held. One lock guards all of it. The window holds the lock neither during
// calls of the store nor during calls of watchers. Readers share it.
//
// Ownership: entries are shared with readers. Nothing changes them after Add.
type Window struct {
	cfg      WindowConfig
	clock    *clock.Clock
	watchers Watchers
	slots    chan struct{}   // has room for StoreReads; readers put in and take out
	life     context.Context // ends with Close
	end      context.CancelFunc
	running  sync.WaitGroup // calls of the store; none begins after closed is set

	// failure is why the tail cannot read the store; nil while it can.
	failure atomic.Pointer[error]
	// contact is the age of clock, plus 1, when contact was last confirmed; 0 for never since Reset.
	contact atomic.Int64
	// last is the newest sequence that the store is known to have, in the window's epoch.
	last   atomic.Uint64
	counts storeCounts

	mu         sync.RWMutex // guards the fields below
	closed     bool
	generation uint64 // number of calls of Reset
	bounds     WindowBounds
	epoch      uint32

	// entries are those in (floor, tip], in order: all that the store had when they arrived.
	floor, head, tip uint64
	floorCheck       uint32 // of the entry at floor; 0 if not known
	entries          []*WindowEntry
	subjects         map[string][]*WindowEntry // the same by subject; no list is empty
	bytes            int
	replaced         int // entries that were replaced, and are held without a block
	keys             windowKeys
	evicted          Evicted

	// hole spans all missing numbers above floor; its First is 0 if there is none. When the tip
	// has reached holeEnds, readers see what follows it; 0 while the log has not decided.
	hole     Hole
	holeEnds uint64

	waiting  map[uint64][]*waiter // by sequence; no list is empty
	nextLast *lastCall            // shared by calls of Head; nil if none wait
	asking   bool                 // a goroutine runs askLast
}

// ErrReplaced is the cause of an error if the store's contents were replaced meanwhile, or if another
// entry has the sequence. Methods of a [Store] return it, too.
var ErrReplaced = errors.New("eventlog: the store was recreated or rolled back")

// NewWindow returns an empty window without contact. It panics without a Store.
func NewWindow(cfg WindowConfig) *Window {
	if cfg.Store == nil {
		panic("eventlog: WindowConfig.Store is nil")
	}
	if cfg.Name == "" {
		cfg.Name = "the store"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ContactTimeout <= 0 {
		cfg.ContactTimeout = 2 * time.Second
	}
	if cfg.StoreReads <= 0 {
		cfg.StoreReads = 16
	}
	life, end := context.WithCancel(context.Background())
	return &Window{
		cfg:      cfg,
		clock:    clock.New(),
		slots:    make(chan struct{}, cfg.StoreReads),
		life:     life,
		end:      end,
		subjects: make(map[string][]*WindowEntry),
		keys:     newWindowKeys(),
		waiting:  make(map[uint64][]*waiter),
	}
}

// Close ends all calls that wait, with [ErrClosed], and later ones. It ends the contexts of calls of
// the store, and returns when these have returned. It may be repeated.
func (w *Window) Close() {
	w.mu.Lock()
	w.closed = true
	w.end()
	w.mu.Unlock()
	w.running.Wait()
}

// Reset empties the window and has it begin after a position: the tail starts, or the store has
// another epoch or history. The position's Check is 0 if the entry there is not in the store. The
// window has no contact until the next ConfirmContact, and calls of Wait end.
func (w *Window) Reset(start Cursor, bounds WindowBounds) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.contact.Store(0)
	w.last.Store(start.Seq)
	w.generation++
	w.bounds, w.epoch = bounds, start.Epoch
	w.emptyLocked(start.Seq, start.Check)
	for seq, list := range w.waiting {
		for _, one := range list {
			one.replaced = true
			close(one.ready)
		}
		delete(w.waiting, seq)
	}
}

// Add appends an entry. Its sequence is above the tip; other entries are ignored, so a tail may
// read again what it has read. Add calls the watchers when readers see the entry. It reports
// whether there is a hole that the log has to decide on.
func (w *Window) Add(e *WindowEntry) (hole bool) {
	if e.Stored == 0 && !e.Time.IsZero() {
		e.Stored = e.Time.UnixNano()
	}
	w.mu.Lock()
	if e.At.Seq <= w.tip {
		w.mu.Unlock()
		return false
	}
	if e.At.Seq != w.tip+1 && w.cfg.Numbers != NumbersSparse {
		if w.hole.First == 0 {
			w.hole.First = w.tip + 1
		}
		w.hole.Last, w.holeEnds = e.At.Seq-1, 0
	}
	previous := w.tip
	w.tip = e.At.Seq
	w.entries = append(w.entries, e)
	w.subjects[e.Subject] = append(w.subjects[e.Subject], e)
	for w.bytes += e.cost(); w.bytes > w.bounds.Bytes && len(w.entries) > 1; {
		w.removeOldestLocked(&w.evicted.Size)
	}
	if w.hole.First != 0 && w.cfg.Numbers == NumbersGapless {
		w.discardLocked(w.hole.Last)
	}
	before, head := w.showLocked()
	hole = w.hole.First != 0 && w.holeEnds == 0
	alone := before == previous && w.floor <= before // readers see this entry, and no other one, anew
	w.mu.Unlock()
	switch {
	case head == before: // it is hidden
	case alone:
		w.watchers.Call(e.Subject, head)
	default:
		w.watchers.Call("", head)
	}
	return hole
}

// SkipTo has the window begin after a sequence, if its tip is still the given one: the store has
// no entries in between. Positions before it are read from the store.
func (w *Window) SkipTo(tip, seq uint64) (ok bool) {
	w.mu.Lock()
	if w.tip != tip || seq <= tip {
		w.mu.Unlock()
		return false
	}
	before := w.head
	w.emptyLocked(seq, 0)
	w.head = before
	w.showLocked()
	w.mu.Unlock()
	w.watchers.Call("", seq)
	return true
}

// Hole is a span of sequences that are missing before entries that have arrived.
type Hole struct {
	// First and Last are the first and the last missing sequence. Entries may be between them.
	First, Last uint64
	// Before is when the store took the entry before First; zero if that is not in memory.
	Before time.Time
}

// Hole returns the hole that keeps readers from the tip. Its First is 0 if there is none.
func (w *Window) Hole() Hole {
	w.mu.RLock()
	defer w.mu.RUnlock()
	hole := w.hole
	if hole.First != 0 {
		if e := w.at(hole.First - 1); e != nil {
			hole.Before = e.Time
		}
	}
	return hole
}

// ResolveHole declares a hole harmless: the store has removed its entries only by
// EntriesPerSubject, or because they were replaced. Once the tip reaches a sequence, each such
// subject has that many newer entries here, and Read reports its gap. The entries that have
// replaced others are here then, too. Readers then see what follows the hole. ResolveHole does nothing
// if the hole has grown.
func (w *Window) ResolveHole(h Hole, through uint64) {
	w.decide(h.First, func() {
		if w.hole.Last == h.Last {
			w.holeEnds = max(through, 1)
		}
	})
}

// GiveUpHole says that anything may be missing in a hole, also if it has grown. The window
// discards what it holds from before the hole's end, so positions there are read from the store.
func (w *Window) GiveUpHole(h Hole) {
	w.decide(h.First, func() { w.discardLocked(w.hole.Last) })
}

func (w *Window) decide(first uint64, decide func()) {
	w.mu.Lock()
	if first == 0 || w.hole.First != first {
		w.mu.Unlock()
		return
	}
	decide()
	before, head := w.showLocked()
	w.mu.Unlock()
	if head != before {
		w.watchers.Call("", head)
	}
}

// SetEntriesPerSubject changes the bound. The caller gives up a hole that may be older.
func (w *Window) SetEntriesPerSubject(most int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bounds.EntriesPerSubject = most
}

// Tip returns the position of the newest entry added: the tail reads on after it.
func (w *Window) Tip() Cursor {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.cursor(w.tip)
}

// Visible returns the position up to which readers see.
func (w *Window) Visible() Cursor {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.cursor(w.head)
}

// Generation returns the number of calls of Reset. A log takes it before it stores a record, for
// Wait.
func (w *Window) Generation() uint64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.generation
}

// Watch implements [Log]. fn runs on the tail's goroutine, under no lock.
func (w *Window) Watch(fn func(subject string, seq uint64)) (stop func()) {
	return w.watchers.Watch(fn)
}

func (w *Window) emptyLocked(floor uint64, check uint32) {
	w.floor, w.floorCheck, w.head, w.tip = floor, check, floor, floor
	w.hole, w.holeEnds = Hole{}, 0
	w.evicted.Reset += uint64(len(w.entries) - w.replaced)
	w.entries, w.bytes, w.replaced = nil, 0, 0
	clear(w.subjects)
	w.keys = newWindowKeys()
}

// discardLocked discards all entries up to a sequence, which becomes the floor.
func (w *Window) discardLocked(seq uint64) {
	for len(w.entries) > 0 && w.entries[0].At.Seq <= seq {
		w.removeOldestLocked(&w.evicted.Reset)
	}
	if seq > w.floor {
		w.floor, w.floorCheck = seq, 0
	}
}

// removeOldestLocked removes the oldest entry, and counts it, unless it has been replaced before.
func (w *Window) removeOldestLocked(count *uint64) {
	e := w.entries[0]
	if e.replaced {
		w.replaced--
	} else {
		*count++
	}
	w.entries[0] = nil // the array outlives the entry
	w.entries = w.entries[1:]
	w.removeOldestOfSubjectLocked(e)
	w.bytes -= e.cost()
	w.floor, w.floorCheck = e.At.Seq, e.At.Check
}

// removeOldestOfSubjectLocked removes the oldest entry of all from the list of its subject.
func (w *Window) removeOldestOfSubjectLocked(e *WindowEntry) {
	list := w.subjects[e.Subject]
	if len(list) == 0 || list[0] != e {
		return // it was replaced, and is in the list no more
	}
	w.keys.forget(e)
	if len(list) == 1 {
		delete(w.subjects, e.Subject)
		return
	}
	list[0] = nil
	w.subjects[e.Subject] = list[1:]
}

// showLocked raises the head as far as holes allow, and has those go on that wait for it.
func (w *Window) showLocked() (before, head uint64) {
	before = w.head
	if w.hole.First == 0 || w.hole.Last <= w.floor || w.holeEnds != 0 && w.tip >= w.holeEnds {
		w.head, w.hole, w.holeEnds = w.tip, Hole{}, 0
	}
	w.head = max(w.head, w.floor)
	w.replaceLocked(before)
	w.releaseLocked(before)
	return before, w.head
}

// cursor returns the position of a sequence between floor and tip.
func (w *Window) cursor(seq uint64) Cursor {
	if seq == w.floor {
		return Cursor{Epoch: w.epoch, Seq: seq, Check: w.floorCheck}
	}
	if e := w.at(seq); e != nil {
		return e.At
	}
	return Cursor{Epoch: w.epoch, Seq: seq}
}

// at returns the entry at a sequence; nil if it is not held.
func (w *Window) at(seq uint64) *WindowEntry {
	if i, ok := w.index(seq); ok {
		return w.entries[i]
	}
	return nil
}

// index returns the place of the entry at a sequence in entries.
func (w *Window) index(seq uint64) (i int, ok bool) {
	if seq <= w.floor || seq > w.tip {
		return 0, false
	}
	i = int(seq - w.floor - 1)
	if uint64(len(w.entries)) != w.tip-w.floor {
		i = sort.Search(len(w.entries), func(i int) bool { return w.entries[i].At.Seq >= seq })
	}
	return i, i < len(w.entries) && w.entries[i].At.Seq == seq
}
