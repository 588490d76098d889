package redislog

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
)

// latestPage is how many entries one request reads at most for [eventlog.Query.Latest].
const latestPage = 128

// latest reads the newest entry of each key after the position.
func (r *olderReader) latest(ctx context.Context) error {
	after := r.q.After.Seq
	if after > 0 {
		known, err := r.events(ctx, r.client, &r.older.pace, r.head.Epoch, after, after, 1)
		if err != nil {
			return err
		}
		if len(known) > 0 && known[0].At.Check != r.q.After.Check { // else it has left the log, which is no gap
			r.page.Gap = eventlog.GapUnknown
			return nil
		}
	}
	for {
		numbers, more, err := r.newestNumbers(ctx, after)
		if err != nil {
			return err
		}
		entries, err := r.entriesAt(ctx, numbers)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.At.Seq > r.page.Through.Seq {
				// A key was updated since this node has read the head. Earlier entries of it are not known.
				if err := r.awaitVisible(ctx, e.At.Seq); err != nil {
					return err
				}
				r.page.Through = e.At
			}
			if !r.add(e) {
				return nil
			}
		}
		if !more {
			return nil
		}
		after = numbers[len(numbers)-1].seq
	}
}

// newestNumber is where the newest entry of a key is.
type newestNumber struct {
	subject, key string
	seq          uint64
}

// newestNumbers returns the first numbers after one, in order, of the newest entries of keys of all
// subjects, and whether there are more.
func (r *olderReader) newestNumbers(ctx context.Context, after uint64) (numbers []newestNumber, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	pipe := r.client.Pipeline()
	var lists []*redis.ZSliceCmd
	for _, subject := range r.q.Subjects {
		lists = append(lists, pipe.ZRangeByScoreWithScores(ctx, r.keys.newest(subject), &redis.ZRangeBy{
			Min: "(" + strconv.FormatUint(after, 10), Max: "+inf", Count: latestPage,
		}))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, false, err
	}
	for i, list := range lists {
		for _, one := range list.Val() {
			key, _ := one.Member.(string)
			numbers = append(numbers, newestNumber{r.q.Subjects[i], key, uint64(one.Score)})
		}
		more = more || len(list.Val()) == latestPage
	}
	slices.SortFunc(numbers, func(a, b newestNumber) int { return cmp.Compare(a.seq, b.seq) })
	if len(numbers) > latestPage {
		return numbers[:latestPage], true, nil
	}
	return numbers, more, nil
}

// entriesAt reads the entries with numbers, without those that have left the log.
func (r *olderReader) entriesAt(ctx context.Context, numbers []newestNumber) (entries []*eventlog.WindowEntry, err error) {
	if len(numbers) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	pipe := r.client.Pipeline()
	var answers []*redis.Cmd
	for _, n := range numbers {
		answers = append(answers, pipe.Do(ctx, "xrange", r.keys.entries, n.seq, strconv.FormatUint(n.seq, 10)+endOfNumber))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for i, answer := range answers {
		found, err := r.parse(r.head.Epoch, answer.Val())
		if err != nil {
			return nil, err
		}
		for _, e := range found {
			if e.Subject == numbers[i].subject && e.Key == numbers[i].key && time.Since(e.Time) < r.cfg.MaxAge {
				entries = append(entries, e.WindowEntry)
			}
		}
	}
	return entries, nil
}
