package logtest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

// placesBetween is how many sequences are left between entries with faultPutTakesPlace.
const placesBetween = 1000

// storeTx is a transaction on a store. Its records are stored together with the commit.
type storeTx struct {
	node    *storeNode
	release func() // other writers; set while the transaction has put something

	puts []eventlog.Record
	seqs []uint64 // of the records, with faultPutTakesPlace
	head uint64   // of the store, at the first Put
}

func (n *storeNode) begin(t *testing.T) Transaction {
	tx := &storeTx{node: n}
	if n.store.immediate {
		ctx, cancel := context.WithTimeout(t.Context(), defaultPatience)
		defer cancel()
		if err := tx.beginWriting(ctx); err != nil {
			t.Errorf("the suite begins a transaction while another one is open: %v", err)
		}
	}
	return Transaction{tx, tx.commit, tx.rollback, tx.savepoint}
}

// beginWriting waits for other writers, if the store has one at a time.
func (tx *storeTx) beginWriting(ctx context.Context) error {
	s := tx.node.store
	release, err := s.write(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing++
	tx.release, tx.head = release, s.head
	return nil
}

// write keeps other writers out until release is called, if the store has one at a time.
func (s *store) write(ctx context.Context) (release func(), err error) {
	if !s.oneWriter {
		return func() {}, nil
	}
	select {
	case s.writer <- struct{}{}:
		return func() { <-s.writer }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// check refuses what the store does not hold.
func (s *store) check(r eventlog.Record) error {
	if err := eventlog.CheckFrame(r.Frame); err != nil {
		return err
	}
	if _, _, ok := eventlog.SplitSubject(r.Subject); !ok {
		return eventlog.ErrInvalidRecord
	}
	if most := s.bounds.MaxBytes; most > 0 && int64(len(r.Frame)) > most {
		return eventlog.ErrTooLarge
	}
	return nil
}

// checkPut is check with the faults of Put.
func (s *store) checkPut(r eventlog.Record) error {
	err := s.check(r)
	switch {
	case s.fault == faultPutTakesInvalid && errors.Is(err, eventlog.ErrInvalidRecord),
		s.fault == faultPutTakesTooLarge && errors.Is(err, eventlog.ErrTooLarge):
		return nil
	case s.fault == faultPutHasItsOwnError && err != nil:
		return errors.New("the record does not fit")
	}
	return err
}

func (tx *storeTx) Put(ctx context.Context, r eventlog.Record) error {
	s := tx.node.store
	refusal := s.checkPut(r)
	if refusal != nil && s.fault != faultPutRefusesAndStores {
		return refusal
	}
	if tx.release == nil {
		if err := tx.beginWriting(ctx); err != nil {
			return err
		}
	}
	if s.fault != faultPutKeepsFrame {
		r.Frame = bytes.Clone(r.Frame)
	}
	switch s.fault {
	case faultPutIsVisible:
		_, err := s.append(tx.node, r)
		return err
	case faultPutIsReported:
		s.mu.Lock()
		head := s.head
		s.mu.Unlock()
		tx.node.watchers.Call(r.Subject, head+1)
	case faultPutTakesPlace:
		s.mu.Lock()
		s.places++
		tx.seqs = append(tx.seqs, s.head+1+uint64(s.places%placesBetween))
		s.mu.Unlock()
	}
	if s.fault == faultPutReplaces {
		s.mu.Lock()
		s.replaceLocked(r, s.head)
		s.mu.Unlock()
	}
	tx.puts = append(tx.puts, r)
	return refusal
}

func (tx *storeTx) commit() error {
	s := tx.node.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	switch n := len(tx.puts); {
	case s.fault == faultPutsReversed:
		slices.Reverse(tx.puts)
	case s.fault == faultCommitIsLostIfLate && s.head > tx.head:
		tx.puts = nil
	case s.fault == faultCommitsRepeat && s.commits%50 == 0:
		tx.puts = append(tx.puts, tx.puts...)
	case s.fault == faultCommitsLoseARecord && s.commits%50 == 0 && n > 0:
		tx.puts = tx.puts[:n-1]
	}
	var err error
	for i, r := range tx.puts {
		if _, ok := s.repeatLocked(tx.node, r); ok && s.fault != faultPutDoesNotKnowRepeats {
			continue
		}
		var seq uint64
		if tx.seqs != nil {
			seq = tx.seqs[i]
			s.head = max(s.head, seq)
		} else {
			seq = s.nextLocked(tx.node)
		}
		s.rememberLocked(tx.node, r, seq)
		if s.fault == faultCommitIsNotReported {
			s.addSilentlyLocked(seq, r)
		} else if _, e := s.addLocked(tx.node, seq, r); e != nil {
			err = e
		}
	}
	tx.endLocked()
	return err
}

// addSilentlyLocked stores a record that nodes see, and do not report.
func (s *store) addSilentlyLocked(seq uint64, r eventlog.Record) {
	nodes := s.nodes
	s.nodes = nil
	_, _ = s.addLocked(nil, seq, r)
	s.nodes = nodes
	for _, n := range nodes {
		n.mu.Lock()
		n.seen = max(n.seen, seq)
		n.mu.Unlock()
	}
}

func (tx *storeTx) rollback() error {
	s := tx.node.store
	if s.fault == faultRollbackCommits || s.fault == faultCommitsOfRollbacks && len(tx.puts) > 3 {
		return tx.commit()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == faultRolledBackHasRepeats {
		for _, r := range tx.puts {
			s.rememberLocked(tx.node, r, s.head)
		}
	}
	tx.endLocked()
	return nil
}

func (tx *storeTx) endLocked() {
	tx.puts = nil
	if tx.release == nil {
		return
	}
	tx.release()
	tx.release = nil
	s := tx.node.store
	if s.writing--; s.fault == faultOpenTransactionHidesLater && s.writing == 0 {
		for _, n := range s.nodes {
			n.report("", s.head)
		}
	}
}

func (tx *storeTx) savepoint() (rollback func() error, err error) {
	place := len(tx.puts)
	return func() error {
		switch tx.node.store.fault {
		case faultSavepointIgnored:
		case faultSavepointRollsBackAll:
			tx.puts = nil
		default:
			tx.puts = tx.puts[:place]
			tx.seqs = tx.seqs[:min(place, len(tx.seqs))]
		}
		return nil
	}, nil
}

// memoryTransactions begins transactions on logs in memory, which have no store. Their records are
// appended one by one with the commit.
type memoryTransactions struct {
	mu     sync.Mutex
	bounds map[eventlog.Log]Bounds
}

// add has transactions of a log keep its bounds.
func (m *memoryTransactions) add(log eventlog.Log, b Bounds) eventlog.Log {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bounds == nil {
		m.bounds = make(map[eventlog.Log]Bounds)
	}
	m.bounds[log] = b
	return log
}

func (m *memoryTransactions) begin(_ *testing.T, log eventlog.Log) Transaction {
	m.mu.Lock()
	defer m.mu.Unlock()
	tx := &memoryTx{log: log, check: (&store{bounds: m.bounds[log]}).check}
	return Transaction{tx, tx.commit, tx.rollback, tx.savepoint}
}

type memoryTx struct {
	log   eventlog.Log
	check func(eventlog.Record) error
	puts  []eventlog.Record
}

func (tx *memoryTx) Put(_ context.Context, r eventlog.Record) error {
	if err := tx.check(r); err != nil {
		return err
	}
	r.Frame = bytes.Clone(r.Frame)
	tx.puts = append(tx.puts, r)
	return nil
}

func (tx *memoryTx) commit() error {
	for _, r := range tx.puts {
		if _, err := tx.log.Append(context.Background(), r); err != nil {
			return err
		}
	}
	return nil
}

func (*memoryTx) rollback() error { return nil }

func (tx *memoryTx) savepoint() (rollback func() error, err error) {
	place := len(tx.puts)
	return func() error {
		tx.puts = tx.puts[:place]
		return nil
	}, nil
}
