// Package logtest is the conformance suite for implementations of [ginsse.Log].
// A log that passes it carries the promises of a [ginsse.Registry].
//
//	func TestConformance(t *testing.T) {
//		logtest.Run(t, logtest.Suite{New: func(t *testing.T, b logtest.Bounds) ginsse.Log {
//			return mylog.Open(t, b)
//		}})
//	}
//
// A log that several nodes share sets Peer, Reopen and Restart as well: see [Suite].
//
// Run it with -race. It needs a few seconds, and more where messages get lost. That it
// fails for logs that are wrong is tested too: see mutant_test.go.
package logtest

import (
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// Bounds are the bounds of a log under test. A zero leaves the log's default,
// which must hold at least 256 events of a subject, for at least a minute, and
// 8 MiB.
type Bounds struct {
	EventsPerSubject int
	MaxAge           time.Duration
	MaxBytes         int64
}

// Suite says how to test an implementation.
type Suite struct {
	// New returns a log that holds nothing and is used by nobody else. What it
	// needs to close is closed by t.Cleanup.
	New func(t *testing.T, b Bounds) ginsse.Log
	// Peer returns another Log value on the contents of one that New returned, as
	// another node has it. Registries are tested on the two as well; and if both are
	// [ginsse.SharedLog], their messages, and what registries tell each other. Nil: the
	// log is not shared, and this is not tested.
	Peer func(t *testing.T, log ginsse.Log) ginsse.Log
	// Reopen closes a log that New returned and opens it again with its contents, as
	// a node that restarts does. The old value is not used afterwards. Nil: its
	// contents end with it, and this is not tested.
	Reopen func(t *testing.T, log ginsse.Log) ginsse.Log
	// Restart takes the store away from all nodes that are open on the contents of a log
	// that New returned, and brings it back with its contents, as when a broker
	// restarts. The logs are in use meanwhile, and stay so: they may take a while to find
	// the store again, but by themselves. Nil: this is not tested.
	Restart func(t *testing.T, log ginsse.Log)
	// Inexact says that the log may report a gap where nothing was lost. It must
	// still report every gap there is.
	Inexact bool

	patience time.Duration // how long what must come may take; 0 is defaultPatience
}

// defaultPatience is not how fast a log should be: it ends the tests of one that fails.
const defaultPatience = 10 * time.Second

// long is the patience with what takes a store to come back, or messages that were lost
// to be made good.
func (s Suite) long() time.Duration { return 3 * s.patience }

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Helper()
	if s.patience == 0 {
		s.patience = defaultPatience
	}
	tests := []conformance{
		{"append_returns_what_read_finds", appendReturnsWhatReadFinds},
		{"frame_is_kept_as_it_was", frameIsKept},
		{"frame_is_the_callers_again_after_an_error", frameIsReturned},
		{"without_a_position_reading_starts_at_the_head", startsAtHead},
		{"resume_after_each_position", resumeAfterEachPosition},
		{"resume_near_the_head_of_a_large_history", resumeNearTheHead},
		{"empty_log_has_a_position", emptyLogHasPosition},

		{"subjects_are_apart", subjectsAreApart},
		{"subjects_merge_in_log_order", subjectsMerge},
		{"subjects_are_equal_if_their_bytes_are", subjectsAreBytes},

		{"reading_appends", readingAppends},
		{"pages_are_the_readers", pagesAreTheReaders},
		{"pages_are_bounded_and_lose_nothing", pagesAreBounded},
		{"one_event_larger_than_a_page_is_read", largeEventIsRead},

		{"before_ends_the_read", beforeEndsTheRead},
		{"before_beyond_the_head_ends_nothing", beforeBeyondTheHead},
		{"before_at_or_below_the_position_wants_nothing", beforeBelowThePosition},
		{"before_hides_no_gap", beforeHidesNoGap},
		{"before_without_a_position_has_no_effect", beforeWithoutPosition},

		{"watch_reports_every_entry", watchReports},
		{"watch_reports_what_can_be_read", watchReportsTheVisible},
		{"watch_stops", watchStops},
		{"watchers_stop_one_by_one", watchersStopApart},

		{"join_under_fire", joinUnderFire},
		{"live_under_fire", liveUnderFire},

		{"trim_by_count_is_a_gap", trimByCount},
		{"trim_by_age_is_a_gap", trimByAge},
		{"trim_by_bytes_is_a_gap", trimByBytes},
		{"trim_of_another_subject_is_none", trimOfAnother},
		{"trim_of_any_subject_is_a_gap", trimOfAny},
		{"loss_is_remembered", lossIsRemembered},
		{"reader_overrun_is_a_gap", readerOverrun},
		{"another_log_is_an_epoch_gap", anotherLog},
		{"made_up_positions_are_gaps", madeUpPositions},
	}
	if s.Peer != nil {
		tests = append(
			tests,
			conformance{"peer_reads_and_watches_what_the_other_appends", peersShare},
			conformance{"peer_resumes_the_others_positions", peerResumes},
			conformance{"peer_misses_no_gap", peerMissesNoGap},
			conformance{"peers_have_one_order_under_fire", peersUnderFire},

			conformance{"registries_share_their_events", registriesShare},
			conformance{"registries_keep_events_for_who_is_away", registriesKeep},
			conformance{"streams_resume_at_the_other_registry_under_fire", registriesUnderFire},

			conformance{"messages_reach_those_they_are_for", messagesReach},
			conformance{"messages_arrive_unchanged", messagesAreBytes},
			conformance{"messages_are_the_receivers", messagesAreTheReceivers},
			conformance{"messages_come_until_stop", messagesStop},
			conformance{"disconnect_reaches_all_registries", disconnectReaches},
			conformance{"registries_agree_on_who_is_online", onlineAgrees},
		)
	}
	if s.Reopen != nil {
		tests = append(
			tests,
			conformance{"reopened_log_resumes_each_position", reopenedResumes},
			conformance{"reopened_empty_log_resumes", reopenedEmpty},
			conformance{"reopened_log_remembers_its_loss", reopenedRemembers},
		)
	}
	if s.Restart != nil {
		tests = append(
			tests,
			conformance{"restart_under_fire_loses_nothing", restartUnderFire},
			conformance{"streams_stay_open_over_a_restart", streamsStayOpen},
		)
	}
	if s.Restart != nil && s.Peer != nil {
		tests = append(tests, conformance{"messages_arrive_after_a_restart", messagesArriveAfterRestart})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, s)
		})
	}
}

// conformance is one test of the suite.
type conformance struct {
	name string
	run  func(*testing.T, Suite)
}
