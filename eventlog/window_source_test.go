package eventlog

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// fakeSource has entries by subject, in order.
type fakeSource struct {
	entries map[string][]*Entry
	lost    string        // subject that has lost entries
	delay   time.Duration // of each call of Next
	failure error
}

func (s *fakeSource) Next(_ context.Context, subject string, after uint64) (*Entry, error) {
	time.Sleep(s.delay)
	for _, e := range s.entries[subject] {
		if e.At.Seq > after {
			return e, s.failure
		}
	}
	return nil, s.failure
}

func (s *fakeSource) Lost(_ context.Context, subject string, _ Cursor) (bool, error) {
	return s.lost == subject, nil
}

func newFakeSource(subjects ...string) *fakeSource {
	s := &fakeSource{entries: make(map[string][]*Entry)}
	for i, subject := range subjects {
		e := testEntry(uint64(i)+1, subject)
		s.entries[subject] = append(s.entries[subject], &e.Entry)
	}
	return s
}

func TestReadSourceMergesSubjectsInOrder(t *testing.T) {
	t.Parallel()
	s := newFakeSource("user:a", "all", "all", "user:b", "user:a", "user:x", "all", "user:a")
	size := len(s.entries["all"][0].Block)
	for name, test := range map[string]struct {
		q       Query
		want    []uint64
		through Cursor
		more    bool
	}{
		"all":              {Query{After: Cursor{Epoch: 7}, MaxEntries: 10, MaxBytes: 1 << 20}, []uint64{1, 2, 3, 4, 5, 7}, testCursor(7), false},
		"after_position":   {Query{After: testCursor(3), MaxEntries: 10, MaxBytes: 1 << 20}, []uint64{4, 5, 7}, testCursor(7), false},
		"first_after_head": {Query{After: testCursor(6), MaxEntries: 10, MaxBytes: 1 << 20}, []uint64{7}, testCursor(7), false},
		"within_entries":   {Query{After: Cursor{Epoch: 7}, MaxEntries: 2, MaxBytes: 1 << 20}, []uint64{1, 2}, testCursor(2), true},
		"within_bytes":     {Query{After: Cursor{Epoch: 7}, MaxEntries: 10, MaxBytes: 3 * size}, []uint64{1, 2, 3}, testCursor(3), true},
		"at_least_one":     {Query{After: Cursor{Epoch: 7}}, []uint64{1}, testCursor(1), true},
		"exactly_as_many":  {Query{After: testCursor(4), MaxEntries: 2, MaxBytes: 2 * size}, []uint64{5, 7}, testCursor(7), false},
	} {
		test.q.Subjects = []string{"user:b", "all", "user:a", "user:none"}
		page, err := ReadSource(t.Context(), s, test.q, testCursor(7), nil) // the entry at 8 is after the head
		if got := sequences(page.Entries); err != nil || !slices.Equal(got, test.want) || page.Through != test.through || page.More != test.more {
			t.Errorf("%s: read %v through %+v, more %v, error %v", name, got, page.Through, page.More, err)
		}
	}
}

func TestReadSourceReportsLoss(t *testing.T) {
	t.Parallel()
	s := newFakeSource("user:a", "all")
	s.lost = "all"
	held := testEntry(9, "all")
	q := Query{Subjects: []string{"user:a", "all"}, After: Cursor{Epoch: 7}, MaxEntries: 10, MaxBytes: 1 << 20}
	page, err := ReadSource(t.Context(), s, q, testCursor(2), []*Entry{&held.Entry})
	if err != nil || page.Gap != GapTrimmed || len(page.Entries) != 1 || page.Through != testCursor(2) || page.More {
		t.Errorf("gap %q with %d entries through %+v, error %v", page.Gap, len(page.Entries), page.Through, err)
	}
	q.Subjects = q.Subjects[:1]
	if page, err := ReadSource(t.Context(), s, q, testCursor(2), nil); err != nil || page.Gap != "" || len(page.Entries) != 1 {
		t.Errorf("of another subject: gap %q with %d entries, error %v", page.Gap, len(page.Entries), err)
	}
	s.failure = errStore
	if _, err := ReadSource(t.Context(), s, q, testCursor(2), nil); !errors.Is(err, errStore) {
		t.Errorf("error is %v", err)
	}
}

func TestReadSourceEndsThePageAfterASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFakeSource("all", "all", "all", "all", "all", "all")
		s.delay = 400 * time.Millisecond
		q := Query{Subjects: []string{"all"}, After: Cursor{Epoch: 7}, MaxEntries: 10, MaxBytes: 1 << 20}
		page, err := ReadSource(t.Context(), s, q, testCursor(6), nil)
		if n := len(page.Entries); err != nil || n == 0 || n > 3 || !page.More || page.Through.Seq != uint64(n) {
			t.Errorf("%d entries through %+v, more %v, error %v", n, page.Through, page.More, err)
		}
		s.delay = 2 * time.Second
		if page, err := ReadSource(t.Context(), s, q, testCursor(6), nil); err != nil || len(page.Entries) != 1 {
			t.Errorf("a slow source: %d entries, error %v", len(page.Entries), err)
		}
	})
}
