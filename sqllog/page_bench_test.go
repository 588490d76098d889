package sqllog_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// BenchmarkReadOlder reads a page that is not in memory, for streams of few and of many subjects.
func BenchmarkReadOlder(b *testing.B) {
	for name, kind := range map[string]kind{"postgres": inPostgres, "sqlite": inSQLite} {
		for _, count := range []int{1, 10, 300} {
			b.Run(fmt.Sprintf("%s/subjects=%d", name, count), func(b *testing.B) {
				log := kind.openLog(b, kind.open(b, kind.make(b)), sqllog.Config{RecentBytes: 1})
				var subjects []string
				for n := range count {
					subjects = append(subjects, eventlog.Subject(eventlog.KindTopic, fmt.Sprint(n)))
				}
				r := newReader(b, log, subjects...)
				var senders sync.WaitGroup
				for i := range 64 {
					senders.Go(func() {
						for n := range 300 {
							if _, err := log.Append(b.Context(), record(fmt.Sprint("topic:", (i*300+n)%1000), "a comment")); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				senders.Wait()
				for b.Loop() {
					if got := len(r.read(b).Entries); got == 0 {
						b.Fatal("nothing was read")
					}
				}
			})
		}
	}
}
