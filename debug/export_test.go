package debug

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/ginsse/ginsse"
)

const (
	MaxViewers = maxViewers
	MaxEntries = maxEntries
	MaxShown   = maxShown
	MaxRows    = maxRows
)

// View is what the page shows, for tests.
type View = view

// CountOpened counts in a window at a time, and returns the series at another.
func (w *Window) CountOpened(at time.Time, n int) {
	(*window)(w).at(at.Unix()).counts[countOpened].Add(uint64(n))
}

func (w *Window) Opened(now time.Time) []uint64 { return (*window)(w).series(countOpened, now) }

// Delay adds a delay at a time.
func (w *Window) Delay(at time.Time, d time.Duration) { (*window)(w).at(at.Unix()).delivery.add(d) }

func (w *Window) Delays(now time.Time) (p50, p99 time.Duration, each []uint64) {
	minute, each := (*window)(w).delays(now, func(s *slot) *histogram { return &s.delivery })
	return minute.quantile(0.5), minute.quantile(0.99), each
}

type Window window

// BucketRange returns the ends of the bucket before that of a duration, and of that.
func BucketRange(d time.Duration) (low, high time.Duration) {
	bucket := bucketOf(d)
	if bucket == 0 {
		return 0, bucketEnd(0)
	}
	return bucketEnd(bucket - 1), bucketEnd(bucket)
}

type Journal = journal

// AddEntry adds an entry about a stream and a user.
func (j *journal) AddEntry(stream, user, detail string) {
	j.add(entry{Stream: stream, User: user, What: "opened", Detail: detail})
}

// FindEntries returns the details of entries.
func (j *journal) FindEntries(stream, user string) (details []string) {
	for _, e := range j.find(stream, user) {
		details = append(details, e.Detail)
	}
	return details
}

// NewView returns what a page shows at a time of nodes that have these reports, by name.
func NewView(now time.Time, reports map[string]string) *View {
	var answers []ginsse.NodeAnswer
	for _, node := range slices.Sorted(maps.Keys(reports)) {
		answers = append(answers, ginsse.NodeAnswer{Node: node, Data: json.RawMessage(reports[node])})
	}
	return newView(answers, now)
}

// BucketOf returns the key of a duration in the reports.
func BucketOf(d time.Duration) int { return bucketOf(d) }
