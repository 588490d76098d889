package logtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// mutant names the wrong log that a process tests.
const mutant = "LOGTEST_MUTANT"

// A suite is worth what it catches. For each wrong log a process of its own runs the
// test that is there for it, and has to fail.
func TestSuiteFailsForEachWrongLog(t *testing.T) {
	if name := os.Getenv(mutant); name != "" {
		s := suiteOf(t, name)
		s.patience = 300 * time.Millisecond
		Run(t, s)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel() // as many at a time as -parallel allows
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			const all = "TestSuiteFailsForEachWrongLog"
			child := exec.CommandContext(ctx, self, "-test.run=^"+all+"$/^"+m.test+"$", "-test.short", "-test.timeout=30s")
			// With the race detector a process sleeps for a second before it ends.
			child.Env = append(os.Environ(), mutant+"="+m.name, "GORACE=atexit_sleep_ms=0")
			output, err := child.CombinedOutput()
			switch {
			case ctx.Err() != nil, bytes.Contains(output, []byte("test timed out")):
				t.Errorf("the suite did not come to an end:\n%s", output)
			case err == nil:
				t.Errorf("%s passed:\n%s", m.test, output)
			case !bytes.Contains(output, []byte("--- FAIL: "+all+"/"+m.test+" ")):
				t.Errorf("it was not %s that failed, but: %v\n%s", m.test, err, output)
			case bytes.Contains(output, []byte("DATA RACE")):
				t.Errorf("a race is not what is wrong with the log:\n%s", output)
			}
		})
	}
}

func suiteOf(t *testing.T, name string) Suite {
	for _, m := range mutants() {
		if m.name == name {
			return m.suite
		}
	}
	t.Fatalf("there is no wrong log %q", name)
	return Suite{}
}

// wrongLog is one that the suite has to fail for.
type wrongLog struct {
	name  string
	test  string // of the suite, that catches it
	suite Suite
}

func mutants() []wrongLog {
	faulty := func(f fault) Suite { return storeSuite(storeConfig{fault: f}) }
	folding := func(key func(string) string) Suite { return storeSuite(storeConfig{key: key}) }
	replacing := func(oldnew ...string) Suite { return folding(strings.NewReplacer(oldnew...).Replace) }
	const bytesOnly = "subjects_are_equal_if_their_bytes_are"
	list := []wrongLog{
		{"gaps_of_all_subjects_together", "trim_of_any_subject_is_a_gap", faulty(faultGapsOfAllSubjectsTogether)},
		{"gaps_of_the_first_subject", "trim_of_any_subject_is_a_gap", faulty(faultGapsOfTheFirstSubject)},
		{"gap_leaves_the_position", "made_up_positions_are_gaps", reading(gapLeavesPosition)},
		{"gap_has_more", "trim_by_count_is_a_gap", reading(gapHasMore)},
		{"gaps_hidden_by_before", "before_hides_no_gap", reading(gapsHiddenByBefore)},
		{"no_gaps_by_count", "trim_by_count_is_a_gap", faulty(faultNoGaps)},
		{"no_gaps_by_age", "trim_by_age_is_a_gap", faulty(faultNoGaps)},
		{"no_gaps_by_bytes", "trim_by_bytes_is_a_gap", faulty(faultNoGaps)},
		{"loss_forgotten_with_the_events", "loss_is_remembered", faulty(faultLossForgottenWithTheEvents)},
		{"loss_forgotten_with_the_next", "loss_is_remembered", faulty(faultLossForgottenWithTheNext)},

		{"subjects_in_lower_case", bytesOnly, folding(strings.ToLower)},
		{"subjects_in_upper_case", bytesOnly, folding(strings.ToUpper)},
		{"subjects_trimmed", bytesOnly, folding(strings.TrimSpace)},
		{"subjects_composed", bytesOnly, replacing("e\u0301", "é")},
		{"subjects_cut_short", bytesOnly, folding(func(subject string) string { return subject[:min(len(subject), 256)] })},
		{"subjects_cut_by_one", bytesOnly, folding(func(subject string) string { return subject[:min(len(subject), len("user:")+255)] })},
		{"subjects_without_kind", bytesOnly, folding(func(subject string) string { return subject[strings.Index(subject, ":")+1:] })},
		{"subjects_as_folders", bytesOnly, faulty(faultPrefixes)},
		{"subjects_unescaped", bytesOnly, replacing("%2E", ".", "%20", " ")},
		{"subjects_escaped_in_part", bytesOnly, replacing(".", "%2E", " ", "%20")},
	}
	for name, char := range map[string]string{
		"dot": ".", "space": " ", "star": "*", "greater": ">", "slash": "/", "percent": "%", "colon": ":", "minus": "-", "backslash": `\`,
	} {
		list = append(list, wrongLog{"subjects_with_" + name + "_as_underscore", bytesOnly, folding(func(subject string) string {
			kind, rest, _ := strings.Cut(subject, ":")
			return kind + ":" + strings.ReplaceAll(rest, char, "_")
		})})
	}
	list = append(list, sharedMutants()...)
	return append(
		list,
		wrongLog{"before_moves_through_back", "before_at_or_below_the_position_wants_nothing", reading(beforeMovesBack)},
		wrongLog{"before_below_gives_events", "before_at_or_below_the_position_wants_nothing", reading(beforeBelowGivesEvents)},
		wrongLog{"before_1_not_handled", "before_at_or_below_the_position_wants_nothing", reading(before1NotHandled)},
		wrongLog{"before_below_moves_to_the_head", "before_at_or_below_the_position_wants_nothing", reading(beforeBelowMovesToHead)},
		wrongLog{"before_below_has_more", "before_at_or_below_the_position_wants_nothing", reading(beforeBelowHasMore)},
		wrongLog{"before_without_position_ends", "before_without_a_position_has_no_effect", reading(beforeWithoutPositionEnds)},
		wrongLog{"before_beyond_is_reached", "before_beyond_the_head_ends_nothing", reading(beforeBeyondIsReached)},

		wrongLog{"dst_dropped_without_events", "reading_appends", reading(dstDroppedWithoutEvents)},
		wrongLog{"dst_dropped_without_position", "reading_appends", reading(dstDroppedWithoutPosition)},
		wrongLog{"dst_dropped_on_gap", "reading_appends", reading(dstDroppedOnGap)},
		wrongLog{"dst_dropped_after_error", "reading_appends", memorySuite(dstDroppedAfterError)},
		wrongLog{"dst_overwritten", "reading_appends", reading(dstOverwritten)},
		wrongLog{"dst_overwritten_when_full", "reading_appends", reading(dstOverwrittenWhenFull)},
		wrongLog{"dst_nil_gets_nothing", "reading_appends", reading(dstNilGetsNothing)},
		wrongLog{"dst_counted", "pages_are_bounded_and_lose_nothing", reading(dstCounted)},

		wrongLog{"max_bytes_of_one_subject_only", "pages_are_bounded_and_lose_nothing", reading(maxBytesOfOneSubjectOnly)},
		wrongLog{"max_events_of_one_subject_only", "pages_are_bounded_and_lose_nothing", reading(maxEventsOfOneSubjectOnly)},
		wrongLog{"max_bytes_ignored", "pages_are_bounded_and_lose_nothing", reading(maxBytesIgnored)},
		wrongLog{"no_event_without_bounds", "pages_are_bounded_and_lose_nothing", reading(noEventWithoutBounds)},

		wrongLog{"pages_share_memory", "pages_are_the_readers", memorySuite(pagesShareMemory)},
		wrongLog{"pages_kept_for_the_next", "pages_are_the_readers", memorySuite(pagesKept)},
		wrongLog{"dst_kept", "pages_are_the_readers", memorySuite(dstKept)},
		wrongLog{"frame_kept_after_error", "frame_is_the_callers_again_after_an_error", memorySuite(frameKept)},

		wrongLog{"watch_before_visible", "watch_reports_what_can_be_read", memorySuite(watchBeforeVisible)},
		wrongLog{"watch_misses_every_tenth", "watch_reports_every_entry", memorySuite(watchMisses)},
		wrongLog{"watch_of_another_subject", "watch_reports_every_entry", memorySuite(watchOfAnother)},
		wrongLog{"stop_does_nothing", "watch_stops", memorySuite(stopDoesNothing)},
		wrongLog{"stop_stops_all", "watchers_stop_one_by_one", memorySuite(stopStopsAll)},
		wrongLog{"stop_twice_stops_another", "watchers_stop_one_by_one", memorySuite(stopTwiceStopsAnother)},
		wrongLog{"stop_twice_panics", "watchers_stop_one_by_one", memorySuite(stopTwicePanics)},

		wrongLog{"readable_after_its_turn", "live_under_fire", faulty(faultReadableAfterItsTurn)},
		wrongLog{"through_looked_up_after_the_events", "live_under_fire", reading(throughLookedUpLater)},
		wrongLog{"sequence_given_twice", "join_under_fire", faulty(faultSequenceTwice)},

		wrongLog{"peer_has_its_own_positions", "peer_reads_and_watches_what_the_other_appends", faulty(faultPeerHasItsOwnPositions)},
		wrongLog{"peer_is_not_told", "peer_reads_and_watches_what_the_other_appends", faulty(faultPeerIsNotTold)},
		wrongLog{"peer_is_told_too_early", "peer_reads_and_watches_what_the_other_appends", faulty(faultPeerIsToldTooEarly)},
		wrongLog{"peer_resumes_nothing_of_others", "peer_resumes_the_others_positions", faulty(faultPeerHasItsOwnPositions)},
		wrongLog{"peer_knows_no_news", "peer_resumes_the_others_positions", faulty(faultPeerKnowsNoNews)},
		wrongLog{"peer_forgets_loss", "peer_misses_no_gap", faulty(faultPeerForgetsLoss)},
		wrongLog{"peers_differ_in_order", "peers_have_one_order_under_fire", faulty(faultReadableAfterItsTurn)},

		wrongLog{"reopened_anew", "reopened_log_resumes_each_position", faulty(faultReopenedAnew)},
		wrongLog{"reopened_anew_when_empty", "reopened_empty_log_resumes", faulty(faultReopenedAnew)},
		wrongLog{"reopened_empty", "reopened_log_resumes_each_position", faulty(faultReopenedEmpty)},
		wrongLog{"reopened_numbers_again", "reopened_log_resumes_each_position", faulty(faultReopenedNumbersAgain)},
		wrongLog{"reopened_forgetful", "reopened_log_remembers_its_loss", faulty(faultReopenedForgetful)},
	)
}

// reading tests a MemoryLog with a Read in front of its own.
func reading(read func(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error)) Suite {
	return memorySuite(func(log ginsse.Log) ginsse.Log {
		return &wrong{Log: log, read: func(_ context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) { return read(log, q, dst) }}
	})
}
