// Package logtest is the conformance suite for implementations of [eventlog.Log].
// A log that passes it keeps the promises of a [ginsse.Registry].
//
//	func TestConformance(t *testing.T) {
//		logtest.Run(t, logtest.Suite{New: func(t *testing.T, b logtest.Bounds) eventlog.Log {
//			return mylog.Open(t, b)
//		}})
//	}
//
// A log that several nodes share sets more fields of [Suite]. Each failed case names the
// sentence of the contract that the log breaks.
//
// A log that was kept from its store for a while, by a machine that is busy, may serve nothing for a
// moment. The suite asks again after [eventlog.ErrUnavailable], and after an empty page if the log has a
// method Ready() error that returns one. It gives up after 30 s.
//
// Run the suite with -race. It needs a few seconds, and more if the log loses messages. The
// package's own tests run it on wrong logs: see mutants_test.go.
package logtest

import (
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/eventlog"
)

// Bounds are the bounds of a log under test. Zero leaves the log's default, which must hold at
// least 256 entries of a subject, for at least a minute, and 8 MiB.
type Bounds struct {
	EventsPerSubject int
	MaxAge           time.Duration
	MaxBytes         int64
}

// Suite says how to test an implementation. Only New is required. The cases that need another
// field are left out if it is nil.
type Suite struct {
	// New returns an empty log that nothing else uses. What it opens is closed by t.Cleanup.
	New func(t *testing.T, b Bounds) eventlog.Log
	// Peer returns another Log value on the contents of a log that New returned, as another
	// node has it. If both are [eventlog.SharedLog], their messages are tested too.
	Peer func(t *testing.T, log eventlog.Log) eventlog.Log
	// Reopen closes a log that New returned and opens it again with its contents, as a node
	// that restarts does. The suite does not use the old value afterwards.
	Reopen func(t *testing.T, log eventlog.Log) eventlog.Log
	// Restart takes the store away from all nodes on the contents of a log that New returned,
	// and brings it back with its contents, as a broker that restarts. The logs are in use
	// meanwhile and stay open. They reconnect by themselves, and may take a while.
	Restart func(t *testing.T, log eventlog.Log)
	// Partition partitions one log, which New or Peer returned, from its store until reconnect is
	// called. The other nodes still reach the store. Partition returns once the log has noticed.
	Partition func(t *testing.T, log eventlog.Log) (reconnect func())
	// Insert adds a record to the contents of a log otherwise than by Append: for example by a
	// transaction of the application, or a node that the suite does not know.
	Insert func(t *testing.T, log eventlog.Log, r eventlog.Record)
	// Begin begins a transaction of the application on the store of a log that New or Peer
	// returned. The suite ends each transaction, and calls Begin from several goroutines.
	Begin func(t *testing.T, log eventlog.Log) Transaction
	// OneWriter says that the store has one writer at a time, as SQLite has: a transaction that is
	// open may keep other writers waiting until it ends. The suite writes nothing else meanwhile.
	OneWriter bool
	// Interleavings is how many transactions the case of random interleavings has. Default 2,000,
	// or 200 with -short. A test that runs for long may have 100,000.
	Interleavings int
	// NoSubjectBound says that the log has no bound for one subject, and ignores
	// [Bounds.EventsPerSubject].
	NoSubjectBound bool
	// Inexact says that the log may report a gap where nothing was lost. It must still report
	// every gap.
	Inexact bool

	patience time.Duration // how long an expected effect may take; 0 is defaultPatience
}

// Transaction is a transaction of the application, in which records may be put. One goroutine at a
// time uses it.
type Transaction struct {
	// Outbox puts records into the transaction.
	Outbox eventlog.Outbox
	// Commit and Rollback end the transaction.
	Commit, Rollback func() error
	// Savepoint marks a place in the transaction, and returns the function that rolls back to it.
	// nil: the store has none.
	Savepoint func() (rollback func() error, err error)
}

// defaultPatience is no demand on a log's speed. It ends the test of a log that fails.
const defaultPatience = 30 * time.Second

// longPatience is the limit for a store that restarts, and for messages that were lost and are
// sent again.
func (s Suite) longPatience() time.Duration { return 3 * s.patience }

// conformance is one case of the suite.
type conformance struct {
	name   string
	clause clause // the sentence that the case tests
	run    func(*testing.T, Suite)
}

// cases returns the cases that the suite's fields allow.
func (s Suite) cases() []conformance {
	list := []conformance{
		{"append_is_visible_when_it_returns", clauseVisible, appendIsVisible},
		{"attributes_arrive", clauseAttributes, attributesArrive},
		{"frame_belongs_to_the_caller_after_append", clauseFrame, frameBelongsToTheCaller},
		{"invalid_record_is_stored_or_refused", clauseAppend, invalidRecord},
		{"head_is_at_or_after_each_entry", clauseHead, headIsAtOrAfterEachEntry},

		{"read_resumes_after_each_position", clauseRead, resumeAfterEachPosition},
		{"read_appends_to_dst", clauseRead, readAppendsToDst},
		{"read_merges_subjects_in_log_order", clauseOrder, subjectsMerge},
		{"read_without_entries_reaches_the_head", clauseThrough, readReachesTheHead},
		{"pages_are_bounded_and_lose_nothing", clauseBounds, pagesAreBounded},
		{"read_without_waiting_gets_the_same_page", clauseSamePage, readsWithoutWaiting},
		{"entries_are_shared_and_never_change", clauseShared, entriesNeverChange},
		{"subjects_are_equal_if_their_bytes_are", clauseSubjects, subjectsAreBytes},

		{"watch_reports_every_entry", clauseWatch, watchReportsEveryEntry},
		{"watch_reports_visible_entries", clauseWatch, watchReportsVisibleEntries},
		{"watchers_stop_one_by_one", clauseStop, watchersStopOneByOne},

		{"order_holds_under_load", clauseThroughIsFinal, orderUnderLoad},

		{"trimming_by_age_is_a_gap", clauseGaps, trimByAge},
		{"trimming_by_bytes_is_a_gap", clauseGaps, trimByBytes},
		{"position_of_another_log_is_a_gap", clauseEpoch, positionOfAnotherLog},
		{"made_up_positions_are_gaps", clauseUnknown, madeUpPositions},
		{"zero_cursor_is_a_gap", clauseAfter, zeroCursor},
	}
	add := func(possible bool, cases ...conformance) {
		if possible {
			list = append(list, cases...)
		}
	}
	add(
		!s.NoSubjectBound,
		conformance{"trimming_by_count_is_a_gap", clauseGaps, trimByCount},
		conformance{"trimming_of_any_subject_is_a_gap", clauseGaps, trimOfAnySubject},
	)
	add(
		true,
		conformance{"keys_replace_earlier_entries", clauseKeys, keysReplace},
		conformance{"keys_are_equal_if_their_bytes_are", clauseKeys, keysAreBytes},
		conformance{"keys_hold_under_load", clauseKeys, keysUnderLoad},
		conformance{"keys_latest_is_read", clauseLatestStart, latestIsRead},
		conformance{"repeats_are_stored_once", clauseRepeats, repeatsAreOne},
		conformance{"repeats_are_equal_if_their_bytes_are", clauseRepeats, repeatsAreBytes},
		conformance{"repeats_at_the_same_time_are_stored_once", clauseRepeats, repeatsAtOnce},
		conformance{"start_is_before_the_first_entry", clauseStart, startIsBeforeTheFirst},
	)
	add(
		!s.NoSubjectBound,
		conformance{"keys_make_no_gap", clauseKeys, keysAreNoGap},
		conformance{"keys_latest_has_no_gap", clauseLatest, latestIsNoGap},
		conformance{"start_is_a_gap_after_trimming", clauseGaps, startIsAGap},
	)
	add(s.Begin != nil,
		conformance{"keys_replace_by_the_commit", clauseCommit, transactionsReplace},
		conformance{"repeats_in_transactions_are_stored_once", clausePutRepeat, transactionsKnowRepeats})
	add(s.Peer != nil,
		conformance{"keys_replace_entries_of_peers", clauseKeys, peersReplace},
		conformance{"repeats_of_peers_are_known", clauseRepeatAt, peersKnowRepeats})
	add(s.Reopen != nil,
		conformance{"reopened_log_keeps_keys", clauseKeys, reopenedKeepsKeys},
		conformance{"reopened_log_knows_repeats", clauseRepeatAt, reopenedKnowsRepeats})
	add(s.Insert != nil, conformance{"inserted_entries_are_read_and_watched", clauseOtherWriters, insertedEntries})
	add(
		s.Begin != nil,
		conformance{"uncommitted_records_are_not_seen", clauseCommit, uncommittedIsNotSeen},
		conformance{"rolled_back_records_are_never_seen", clauseRollback, rolledBackIsNeverSeen},
		conformance{"put_refuses_what_append_refuses", clausePut, putRefuses},
		conformance{"frame_belongs_to_the_caller_after_put", clausePutFrame, putFrameBelongsToTheCaller},
		conformance{"late_commits_come_after_what_was_read", clauseCommit, lateCommits},
		conformance{"order_holds_with_interleaved_transactions", clauseCommit, interleavedTransactions},
		conformance{"streams_get_the_events_of_a_transaction_by_its_commit", clauseCommit, streamsOfTransactions},
		conformance{"disconnect_in_a_transaction_ends_streams_by_its_commit", clauseCommit, disconnectInTransactions},
	)
	add(s.Begin != nil && !s.OneWriter, conformance{"open_transaction_keeps_nothing_waiting", clauseOtherWriter, openTransaction})
	add(
		s.Peer != nil,
		conformance{"peer_reads_and_watches_what_the_other_appends", clauseOtherWriters, peersShare},
		conformance{"peer_resumes_the_others_positions", clausePositions, peerResumes},
		conformance{"peer_reports_every_gap", clauseGaps, peerReportsGaps},
		conformance{"head_is_at_or_after_a_peers_entries", clauseHead, headAfterPeers},
		conformance{"order_holds_under_load_on_peers", clauseThroughIsFinal, orderUnderLoadOnPeers},

		conformance{"registries_share_their_events", clauseOtherWriters, registriesShare},
		conformance{"registries_keep_events_for_absent_clients", clausePositions, registriesKeep},
		conformance{"runs_are_followed_at_all_nodes", clauseOtherWriters, runsAreFollowed},
		conformance{"disconnect_has_its_place_in_the_order", clauseTogether, disconnectInOrder},

		conformance{"messages_reach_their_receivers", clausePost, messagesReach},
		conformance{"messages_arrive_unchanged", clausePost, messagesAreBytes},
		conformance{"messages_belong_to_the_receiver", clauseMessages, messagesBelongToTheReceiver},
		conformance{"messages_come_until_stop", clauseReceive, messagesStop},
		conformance{"registries_agree_on_who_is_online", clausePost, onlineAgrees},
	)
	add(
		s.Reopen != nil,
		conformance{"reopened_log_resumes_each_position", clausePositions, reopenedResumes},
		conformance{"reopened_empty_log_resumes", clausePositions, reopenedEmpty},
	)
	add(s.Reopen != nil && !s.NoSubjectBound, conformance{"reopened_log_reports_every_gap", clauseGaps, reopenedReportsGaps})
	add(
		s.Restart != nil,
		conformance{"restart_under_load_loses_nothing", clauseReconnect, restartUnderLoad},
		conformance{"streams_stay_open_over_a_restart", clauseReconnect, streamsStayOpen},
		conformance{"runs_outlive_a_restart", clauseReconnect, runsOutliveARestart},
	)
	add(
		s.Restart != nil && s.Peer != nil,
		conformance{"messages_arrive_after_a_restart", clauseReceive, messagesArriveAfterRestart},
		conformance{"disconnect_during_a_restart_ends_streams", clauseReconnect, disconnectDuringRestart},
	)
	add(s.Partition != nil, conformance{"read_without_waiting_returns_at_once", clauseNoWait, readsAtOnce})
	add(
		s.Partition != nil && s.Peer != nil,
		conformance{"partitioned_log_stands_still", clausePartition, partitionedLog},
		conformance{"disconnect_ends_streams_of_a_partitioned_node", clauseReconnect, disconnectAfterPartition},
	)
	add(s.Partition != nil && s.Peer != nil && !s.NoSubjectBound,
		conformance{"lost_command_ends_the_stream", clauseGaps, lostCommand})
	return list
}

var quiet sync.Once

// Run runs the suite. If gin is in debug mode, Run sets its test mode: debug mode prints every
// route of the servers that the suite starts.
func Run(t *testing.T, s Suite) {
	t.Helper()
	quiet.Do(func() {
		if gin.IsDebugging() {
			gin.SetMode(gin.TestMode)
		}
	})
	if s.patience == 0 {
		s.patience = defaultPatience
	}
	for _, test := range s.cases() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			panicked := true
			defer func() {
				if t.Failed() || panicked && !t.Skipped() {
					t.Log("the case tests " + test.clause.String())
				}
			}()
			test.run(t, s)
			panicked = false
		})
	}
}
