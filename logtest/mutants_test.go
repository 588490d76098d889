package logtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// mutant is the environment variable that names the wrong log which a process tests.
const mutant = "LOGTEST_MUTANT"

// For each wrong log, a process of its own runs the case that has to catch it. The case has to
// fail and to name a sentence of the contract.
func TestSuiteFailsForEachWrongLog(t *testing.T) {
	if name := os.Getenv(mutant); name != "" {
		s := suiteOf(t, name)
		s.patience = 300 * time.Millisecond
		Run(t, s)
		return
	}
	if testing.Short() {
		t.Skip("wrong logs take long")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel() // as many at a time as -parallel allows
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			var err error
			const all = "TestSuiteFailsForEachWrongLog"
			var output []byte
			for range 3 { // on a busy machine, a schedule may hide the fault
				child := exec.CommandContext(ctx, self, "-test.run=^"+all+"$/^"+m.test+"$", "-test.short", "-test.timeout=1m")
				// With the race detector a process sleeps for a second before it ends.
				child.Env = append(os.Environ(), mutant+"="+m.name, "GORACE=atexit_sleep_ms=0")
				if output, err = child.CombinedOutput(); err != nil {
					break
				}
			}
			switch {
			case ctx.Err() != nil, bytes.Contains(output, []byte("test timed out")):
				t.Errorf("the suite did not come to an end:\n%s", output)
			case err == nil:
				t.Errorf("%s passed:\n%s", m.test, output)
			case !bytes.Contains(output, []byte("--- FAIL: "+all+"/"+m.test+" ")):
				t.Errorf("it was not %s that failed, but: %v\n%s", m.test, err, output)
			case bytes.Contains(output, []byte("DATA RACE")):
				t.Errorf("a race is not what is wrong with the log:\n%s", output)
			case !bytes.Contains(output, []byte("the case tests eventlog.")):
				t.Errorf("the failure names no sentence of the contract:\n%s", output)
			case bytes.Contains(output, []byte("[GIN")):
				t.Errorf("gin prints:\n%s", output)
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

// wrongLog is a log for which the suite has to fail.
type wrongLog struct {
	name  string
	test  string // the case that catches it
	suite Suite
}

func mutants() []wrongLog {
	list := logMutants()
	list = append(list, readMutants()...)
	list = append(list, noWaitMutants()...)
	list = append(list, keyMutants()...)
	list = append(list, subjectMutants()...)
	list = append(list, transactionMutants()...)
	return append(list, sharedMutants()...)
}

func faulty(f fault) Suite { return storeSuite(storeConfig{fault: f}) }

// reading tests a MemoryLog with a Read in place of its own.
func reading(read readFunc) Suite {
	return memorySuite(func(log eventlog.Log) eventlog.Log {
		return &wrong{Log: log, read: func(_ context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
			return read(log, q, dst)
		}}
	})
}

// logMutants append, watch, trim, or use memory in a wrong way.
func logMutants() []wrongLog {
	const (
		refused, heads, frames, changed = "invalid_record_is_stored_or_refused", "head_is_at_or_after_each_entry", "frame_belongs_to_the_caller_after_append", "entries_are_shared_and_never_change"
		every, visible, stops           = "watch_reports_every_entry", "watch_reports_visible_entries", "watchers_stop_one_by_one"
		count, age, byBytes, ofAny      = "trimming_by_count_is_a_gap", "trimming_by_age_is_a_gap", "trimming_by_bytes_is_a_gap", "trimming_of_any_subject_is_a_gap"
	)
	return []wrongLog{
		{"attributes_are_dropped", "attributes_arrive", memorySuite(dropsAttributes)},
		{"invalid_subject_has_another_error", refused, memorySuite(refusesWithItsOwnError)},
		{"invalid_frame_is_refused_and_stored", refused, memorySuite(refusesAndStores)},
		{"head_of_empty_log_is_zero", heads, memorySuite(headOfEmptyLogIsZero)},
		{"head_before_the_last_entry", heads, memorySuite(headBeforeTheLastEntry)},
		{"frame_kept_after_error", frames, memorySuite(frameKept)},

		{"blocks_reused", changed, memorySuite(blocksReused)},
		{"blocks_cleared", changed, memorySuite(blocksCleared)},
		{"pages_share_memory", changed, memorySuite(pagesShareMemory)},
		{"pages_kept_for_the_next", changed, memorySuite(pagesKept)},
		{"dst_kept", changed, memorySuite(dstKept)},

		{"watch_before_visible", visible, memorySuite(watchBeforeVisible)},
		{"watch_misses_every_tenth", every, memorySuite(watchMisses)},
		{"watch_of_another_subject", every, memorySuite(watchOfAnother)},
		{"stop_does_nothing", stops, memorySuite(stopDoesNothing)},
		{"stop_stops_all", stops, memorySuite(stopStopsAll)},
		{"stop_twice_stops_another", stops, memorySuite(stopTwiceStopsAnother)},
		{"stop_twice_panics", stops, memorySuite(stopTwicePanics)},

		{"no_gaps_by_count", count, faulty(faultNoGaps)},
		{"no_gaps_by_age", age, faulty(faultNoGaps)},
		{"no_gaps_by_bytes", byBytes, faulty(faultNoGaps)},
		{"gaps_of_other_subjects", count, storeSuite(storeConfig{inexact: true})},
		{"gaps_of_all_subjects_together", ofAny, faulty(faultGapsOfAllSubjectsTogether)},
		{"gaps_of_the_first_subject", ofAny, faulty(faultGapsOfTheFirstSubject)},
		{"loss_forgotten_with_the_events", age, faulty(faultLossForgottenWithTheEvents)},
		{"loss_forgotten_with_the_next", age, faulty(faultLossForgottenWithTheNext)},

		{"inserted_is_not_reported", "inserted_entries_are_read_and_watched", faulty(faultInsertIsNotReported)},
		{"inserted_goes_back", "inserted_entries_are_read_and_watched", faulty(faultInsertGoesBack)},

		{"readable_after_its_turn", "order_holds_under_load", faulty(faultReadableAfterItsTurn)},
		{"sequence_given_twice", "order_holds_under_load", faulty(faultSequenceTwice)},

		{"reopened_anew", "reopened_log_resumes_each_position", faulty(faultReopenedAnew)},
		{"reopened_anew_when_empty", "reopened_empty_log_resumes", faulty(faultReopenedAnew)},
		{"reopened_empty", "reopened_log_resumes_each_position", faulty(faultReopenedEmpty)},
		{"reopened_numbers_again", "reopened_log_resumes_each_position", faulty(faultReopenedNumbersAgain)},
		{"reopened_forgetful", "reopened_log_reports_every_gap", faulty(faultReopenedForgetful)},
	}
}

// readMutants read in a wrong way.
func readMutants() []wrongLog {
	const (
		visible, resume, merged  = "append_is_visible_when_it_returns", "read_resumes_after_each_position", "read_merges_subjects_in_log_order"
		dst, bounded, reaches    = "read_appends_to_dst", "pages_are_bounded_and_lose_nothing", "read_without_entries_reaches_the_head"
		madeUp, zero, count, old = "made_up_positions_are_gaps", "zero_cursor_is_a_gap", "trimming_by_count_is_a_gap", "position_of_another_log_is_a_gap"
	)
	return []wrongLog{
		{"newest_entry_hidden", visible, reading(changingPages(newestHidden))},
		{"id_before_the_data", visible, reading(changingEntries(idFirst))},
		{"id_of_another_position", visible, reading(changingEntries(idOfAnother))},
		{"subject_without_its_kind", visible, reading(changingEntries(subjectWithoutKind))},
		{"entries_skipped", resume, reading(changingPages(entriesSkipped))},
		{"subject_after_subject", merged, reading(changingPages(subjectAfterSubject))},
		{"through_stays_without_entries", reaches, reading(changingPages(throughStays))},
		{"through_looked_up_after_the_entries", "order_holds_under_load", reading(changingPages(throughLookedUpLater))},

		{"gap_leaves_the_position", madeUp, reading(changingPages(gapLeavesPosition))},
		{"gap_has_more", count, reading(changingPages(gapHasMore))},
		{"gap_hidden_from_a_query_without_bytes", count, reading(changingPages(gapNeedsBytes))},
		{"epoch_is_unknown", old, reading(changingPages(epochIsUnknown))},
		{"zero_is_the_head", zero, reading(zeroIsTheHead)},

		{"dst_dropped_without_entries", dst, reading(changingPages(dstDroppedWithoutEntries))},
		{"dst_dropped_on_gap", dst, reading(changingPages(dstDroppedOnGap))},
		{"dst_dropped_after_error", dst, memorySuite(dstDroppedAfterError)},
		{"dst_overwritten", dst, reading(dstOverwritten)},
		{"dst_overwritten_when_full", dst, reading(dstOverwrittenWhenFull)},
		{"dst_nil_gets_nothing", dst, reading(dstNilGetsNothing)},
		{"dst_counted", bounded, reading(dstCounted)},

		{"max_bytes_of_one_subject_only", bounded, reading(changingQueries(maxBytesOfOneSubjectOnly))},
		{"max_entries_of_one_subject_only", bounded, reading(changingQueries(maxEntriesOfOneSubjectOnly))},
		{"max_bytes_ignored", bounded, reading(changingQueries(maxBytesIgnored))},
		{"no_entry_without_bounds", bounded, reading(noEntryWithoutBounds)},
	}
}

// noWaitMutants treat Query.NoWait in a wrong way.
func noWaitMutants() []wrongLog {
	const same, atOnce = "read_without_waiting_gets_the_same_page", "read_without_waiting_returns_at_once"
	return []wrongLog{
		{"would_wait_at_the_head", same, reading(wouldWaitAtTheHead)},
		{"would_wait_without_being_asked", same, reading(wouldWaitUnasked)},
		{"would_wait_is_another_error", same, reading(withoutWaiting(wouldWaitIsAnother))},
		{"would_wait_clears_dst", same, reading(withoutWaiting(wouldWaitClears))},
		{"would_wait_after_waiting", same, reading(withoutWaiting(wouldWaitLate))},
		{"page_without_waiting_is_short", same, reading(withoutWaiting(noWaitIsShort))},
		{"page_without_waiting_is_cut", same, reading(withoutWaiting(noWaitIsCut))},
		{"page_without_waiting_is_empty", same, reading(withoutWaiting(noWaitIsEmpty))},
		{"page_without_waiting_skips_to_the_head", same, reading(withoutWaiting(noWaitSkips))},
		{"page_without_waiting_is_a_gap", same, reading(withoutWaiting(noWaitIsAGap))},
		{"waits_in_a_partition", atOnce, waitingWhilePartitioned()},
	}
}

// transactionMutants are wrong about transactions of the application.
func transactionMutants() []wrongLog {
	const (
		uncommitted, rolledBack, late = "uncommitted_records_are_not_seen", "rolled_back_records_are_never_seen", "late_commits_come_after_what_was_read"
		refused, frames, order        = "put_refuses_what_append_refuses", "frame_belongs_to_the_caller_after_put", "order_holds_with_interleaved_transactions"
		open                          = "open_transaction_keeps_nothing_waiting"
		events, disconnect            = "streams_get_the_events_of_a_transaction_by_its_commit", "disconnect_in_a_transaction_ends_streams_by_its_commit"
	)
	return []wrongLog{
		{"put_is_visible", uncommitted, faulty(faultPutIsVisible)},
		{"put_is_reported", uncommitted, faulty(faultPutIsReported)},
		{"puts_reversed", uncommitted, faulty(faultPutsReversed)},
		{"commit_is_not_reported", uncommitted, faulty(faultCommitIsNotReported)},
		{"commit_is_not_reported_to_the_peer", uncommitted, faulty(faultPeerIsNotWoken)},
		{"committed_has_other_positions_at_the_peer", uncommitted, faulty(faultPeerHasItsOwnPositions)},

		{"rollback_commits", rolledBack, faulty(faultRollbackCommits)},
		{"put_is_visible_and_rolled_back", rolledBack, faulty(faultPutIsVisible)},
		{"savepoint_ignored", rolledBack, faulty(faultSavepointIgnored)},
		{"savepoint_rolls_back_all", rolledBack, faulty(faultSavepointRollsBackAll)},

		{"put_takes_invalid_records", refused, faulty(faultPutTakesInvalid)},
		{"put_takes_large_records", refused, faulty(faultPutTakesTooLarge)},
		{"put_has_its_own_error", refused, faulty(faultPutHasItsOwnError)},
		{"put_refuses_and_stores", refused, faulty(faultPutRefusesAndStores)},
		{"frame_kept_by_put", frames, faulty(faultPutKeepsFrame)},

		{"late_commit_lost", late, faulty(faultCommitIsLostIfLate)},
		{"late_commit_goes_back", late, faulty(faultPutTakesPlace)},

		{"open_transaction_keeps_readers_waiting", open, faulty(faultOpenTransactionHidesLater)},
		{"open_transaction_keeps_writers_waiting", open, storeSuite(storeConfig{oneWriter: true})},

		{"interleaved_commit_lost", order, faulty(faultCommitIsLostIfLate)},
		{"interleaved_commit_goes_back", order, faulty(faultPutTakesPlace)},
		{"interleaved_commit_repeated", order, faulty(faultCommitsRepeat)},
		{"interleaved_commit_loses_a_record", order, faulty(faultCommitsLoseARecord)},
		{"interleaved_commit_is_not_reported", order, faulty(faultCommitIsNotReported)},
		{"interleaved_puts_reversed", order, faulty(faultPutsReversed)},
		{"interleaved_rollback_commits", order, faulty(faultCommitsOfRollbacks)},
		{"interleaved_savepoint_ignored", order, faulty(faultSavepointIgnored)},
		{"interleaved_positions_differ_at_the_peer", order, faulty(faultPeerHasItsOwnPositions)},

		{"streams_get_what_is_not_committed", events, faulty(faultPutIsVisible)},
		{"streams_get_what_is_rolled_back", events, faulty(faultRollbackCommits)},
		{"streams_not_woken_by_a_commit", events, faulty(faultCommitIsNotReported)},
		{"disconnect_before_the_commit", disconnect, faulty(faultPutIsVisible)},
		{"disconnect_although_rolled_back", disconnect, faulty(faultRollbackCommits)},
		{"disconnect_does_not_reach_the_peer", disconnect, faulty(faultPeerMissesCommands)},
		{"disconnect_before_earlier_events", disconnect, faulty(faultPutsReversed)},
	}
}

// subjectMutants store subjects under names that are equal for different subjects.
func subjectMutants() []wrongLog {
	folding := func(key func(string) string) Suite { return storeSuite(storeConfig{key: key}) }
	replacing := func(oldnew ...string) Suite { return folding(strings.NewReplacer(oldnew...).Replace) }
	const bytesOnly = "subjects_are_equal_if_their_bytes_are"
	list := []wrongLog{
		{"subjects_in_lower_case", bytesOnly, folding(strings.ToLower)},
		{"subjects_in_upper_case", bytesOnly, folding(strings.ToUpper)},
		{"subjects_trimmed", bytesOnly, folding(strings.TrimSpace)},
		{"subjects_composed", bytesOnly, replacing("e\u0301", "é")},
		{"subjects_truncated", bytesOnly, folding(func(subject string) string { return subject[:min(len(subject), 256)] })},
		{"subjects_truncated_by_one", bytesOnly, folding(func(subject string) string { return subject[:min(len(subject), len("user:")+255)] })},
		{"subjects_without_kind", bytesOnly, folding(func(subject string) string { return subject[strings.Index(subject, ":")+1:] })},
		{"commands_as_users", bytesOnly, replacing("command:", "user:")},
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
	return list
}

// sharedMutants are wrong on several nodes, or when their store goes away.
func sharedMutants() []wrongLog {
	const (
		peers, positions, gaps, heads, load = "peer_reads_and_watches_what_the_other_appends", "peer_resumes_the_others_positions", "peer_reports_every_gap", "head_is_at_or_after_a_peers_entries", "order_holds_under_load_on_peers"
		share, keep                         = "registries_share_their_events", "registries_keep_events_for_absent_clients"
		disconnect, online                  = "disconnect_has_its_place_in_the_order", "registries_agree_on_who_is_online"
		reach, unchanged, owned, stop       = "messages_reach_their_receivers", "messages_arrive_unchanged", "messages_belong_to_the_receiver", "messages_come_until_stop"
		restart, open, messages, ends       = "restart_under_load_loses_nothing", "streams_stay_open_over_a_restart", "messages_arrive_after_a_restart", "disconnect_during_a_restart_ends_streams"
		still, partitioned, lost            = "partitioned_log_stands_still", "disconnect_ends_streams_of_a_partitioned_node", "lost_command_ends_the_stream"
	)
	return []wrongLog{
		{"peer_has_its_own_positions", peers, faulty(faultPeerHasItsOwnPositions)},
		{"peer_is_not_woken", peers, faulty(faultPeerIsNotWoken)},
		{"peer_is_woken_too_early", peers, faulty(faultPeerIsWokenTooEarly)},
		{"peer_resumes_nothing_of_others", positions, faulty(faultPeerHasItsOwnPositions)},
		{"peer_knows_no_news", positions, faulty(faultPeerKnowsNoNews)},
		{"peer_forgets_loss", gaps, faulty(faultPeerForgetsLoss)},
		{"head_is_what_the_node_has_seen", heads, faulty(faultHeadAsSeen)},
		{"head_is_not_read_yet", heads, faulty(faultHeadUnread)},
		{"peers_differ_in_order", load, faulty(faultReadableAfterItsTurn)},
		{"readers_skip_a_backlog_at_the_peer", load, faulty(faultPeerSkipsBacklog)},
		{"readers_resume_nothing_of_others", load, faulty(faultPeerHasItsOwnPositions)},

		{"followers_at_the_peer_not_woken", "runs_are_followed_at_all_nodes", faulty(faultPeerIsNotWoken)},
		{"streams_at_the_peer_not_woken", share, faulty(faultPeerIsNotWoken)},
		{"streams_at_the_peer_have_other_ids", share, faulty(faultPeerHasItsOwnPositions)},
		{"streams_skip_a_backlog", keep, faulty(faultPeerSkipsBacklog)},
		{"commands_do_not_reach_the_peer", disconnect, faulty(faultPeerMissesCommands)},
		{"commands_overtake_an_event", disconnect, faulty(faultPeerLosesEventsBeforeCommands)},

		{"name_reaches_all", reach, changing(toAll, nil)},
		{"name_reaches_no_receiver", reach, postingBy(postsToAllOnly)},
		{"all_reaches_no_receiver", reach, postingBy(postsToNamesOnly)},
		{"peer_posts_nothing", reach, postingBy(peerPostsNothing)},
		{"names_in_lower_case", reach, receiving(receivesForLowerCase)()},
		{"names_truncated", reach, receiving(receivesForAPrefix)()},
		{"messages_trimmed", unchanged, changing(nil, bytes.TrimSpace)},
		{"messages_until_zero", unchanged, changing(nil, untilZero)},
		{"messages_made_valid", unchanged, changing(nil, validText)},
		{"messages_truncated", unchanged, changing(nil, at32KiB)},
		{"large_messages_refused", unchanged, postingBy(largeRefused)},
		{"messages_kept_by_post", owned, messageKept()},
		{"messages_shared_by_receivers", owned, messagesShared()},
		{"receivers_not_stopped", stop, receiving(receivesForEver)()},
		{"receivers_stopped_twice_panic", stop, receiving(receivesUntilStoppedOnce)()},
		{"receivers_stopped_by_name", stop, stopByName()},
		{"peer_does_not_post_who_is_online", online, postingBy(peerPostsNothing)},

		{"restart_forgets_an_event", restart, faulty(faultRestartForgets)},
		{"restart_repeats_an_event", restart, faulty(faultRestartRepeats)},
		{"restart_is_not_reported_to_the_peer", restart, faulty(faultReconnectIsNotReported)},
		{"restart_moves_readers_back", restart, faulty(faultPartitionMovesBack)},
		{"restart_moves_readers_to_the_head", restart, faulty(faultPartitionMovesToTheHead)},
		{"restart_is_a_gap", restart, partitionIsAGap()},
		{"restart_leaves_the_head", restart, faulty(faultHeadWhilePartitioned)},
		{"restart_moves_streams_back", open, faulty(faultPartitionMovesBack)},
		{"restart_is_a_gap_of_streams", open, partitionIsAGap()},
		{"restart_forgets_an_entry_of_a_run", "runs_outlive_a_restart", faulty(faultRestartForgets)},
		{"restart_is_a_gap_of_followers", "runs_outlive_a_restart", partitionIsAGap()},
		{"restart_forgets_receivers", messages, faulty(faultRestartForgetsReceivers)},
		{"restart_hides_a_command", ends, faulty(faultReconnectIsNotReported)},

		{"partition_moves_readers_to_the_head", still, faulty(faultPartitionMovesToTheHead)},
		{"partition_is_a_gap", still, partitionIsAGap()},
		{"partition_leaves_the_head", still, faulty(faultHeadWhilePartitioned)},
		{"partition_ends_without_a_report", still, faulty(faultReconnectIsNotReported)},
		{"partition_hides_a_command", partitioned, faulty(faultReconnectIsNotReported)},
		{"commands_do_not_reach_a_partitioned_peer", partitioned, faulty(faultPeerMissesCommands)},
		{"gap_of_commands_not_reported", lost, faulty(faultNoGapsOfCommands)},
	}
}
