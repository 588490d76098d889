package logtest

import (
	"context"
	"strings"

	"github.com/ginsse/ginsse/eventlog"
)

// The wrong ways to read entries with keys, in front of a right log.

func keyDropped(e *eventlog.Entry) { e.Key = "" }

func latestOnOnePage(_ eventlog.Log, q eventlog.Query, page *eventlog.Page) {
	page.More = page.More && !q.Latest
}

func startIsUnknown(_ eventlog.Log, q eventlog.Query, page *eventlog.Page) {
	if q.After.Seq == 0 {
		page.Gap = eventlog.GapUnknown
	}
}

func startIsTheHead(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if q.After.Seq == 0 {
		q.After, _ = log.Head(context.Background())
	}
	return plain(log, q, dst)
}

func startOfAnyEpoch(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if q.After.Seq == 0 {
		head, _ := log.Head(context.Background())
		q.After = eventlog.Cursor{Epoch: head.Epoch}
	}
	return plain(log, q, dst)
}

// keyMutants are wrong with keys, with repeats, or at the position before the first entry.
func keyMutants() []wrongLog {
	const (
		replace, bytesOnly, load  = "keys_replace_earlier_entries", "keys_are_equal_if_their_bytes_are", "keys_hold_under_load"
		noGap, latest, latestGaps = "keys_make_no_gap", "keys_latest_is_read", "keys_latest_has_no_gap"
		commit, peers, reopened   = "keys_replace_by_the_commit", "keys_replace_entries_of_peers", "reopened_log_keeps_keys"
		start, startGap           = "start_is_before_the_first_entry", "start_is_a_gap_after_trimming"

		once, onceBytes, atOnce            = "repeats_are_stored_once", "repeats_are_equal_if_their_bytes_are", "repeats_at_the_same_time_are_stored_once"
		inTx, ofPeers, knownWhenItReopened = "repeats_in_transactions_are_stored_once", "repeats_of_peers_are_known", "reopened_log_knows_repeats"
	)
	return []wrongLog{
		{"replaced_entries_are_read", replace, faulty(faultReplacedIsRead)},
		{"replaced_entries_are_a_gap", replace, faulty(faultReplacedIsAGap)},
		{"replaced_entries_have_no_position", replace, faulty(faultReplacedHasNoPosition)},
		{"keys_replace_in_all_subjects", replace, faulty(faultKeysOfAllSubjects)},
		{"keys_dropped", replace, reading(changingEntries(keyDropped))},
		{"keys_in_lower_case", bytesOnly, storeSuite(storeConfig{name: strings.ToLower})},
		{"keys_truncated", bytesOnly, storeSuite(storeConfig{name: func(name string) string { return name[:min(len(name), 64)] }})},
		{"keys_replace_before_they_are_visible", load, faulty(faultReplacesBeforeVisible)},
		{"replaced_entries_count", noGap, faulty(faultReplacedCounts)},
		{"latest_reads_entries_without_keys", latest, faulty(faultLatestReadsAll)},
		{"latest_on_one_page", latest, reading(changingPages(latestOnOnePage))},
		{"latest_has_gaps", latestGaps, faulty(faultLatestHasGaps)},
		{"put_replaces_before_the_commit", commit, faulty(faultPutReplaces)},
		{"rolled_back_put_replaces", commit, faulty(faultRollbackCommits)},
		{"replaced_entries_are_read_at_the_peer", peers, faulty(faultPeerReadsReplaced)},
		{"reopened_log_forgets_keys", reopened, faulty(faultReopenedForgetsKeys)},

		{"start_is_unknown", start, reading(changingPages(startIsUnknown))},
		{"start_is_the_head", start, reading(startIsTheHead)},
		{"start_of_any_epoch", start, reading(startOfAnyEpoch)},
		{"start_has_no_gap", startGap, faulty(faultStartHasNoGap)},

		{"repeats_are_stored", once, faulty(faultRepeatsAreStored)},
		{"repeats_have_the_head", once, faulty(faultRepeatsHaveTheHead)},
		{"repeats_of_all_subjects", once, faulty(faultRepeatsOfAllSubjects)},
		{"repeats_forgotten_with_the_events", once, faulty(faultRepeatsForgottenWithTheEvents)},
		{"dedup_keys_in_lower_case", onceBytes, storeSuite(storeConfig{name: strings.ToLower})},
		{"repeats_at_once_are_stored", atOnce, faulty(faultRepeatsRace)},
		{"put_does_not_know_repeats", inTx, faulty(faultPutDoesNotKnowRepeats)},
		{"rolled_back_put_has_repeats", inTx, faulty(faultRolledBackHasRepeats)},
		{"repeats_of_one_node", ofPeers, faulty(faultRepeatsOfOneNode)},
		{"reopened_log_forgets_repeats", knownWhenItReopened, faulty(faultReopenedForgetsRepeats)},
	}
}
