package sqllog_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/sqllog"
)

// Nodes that start at once on an empty database wait for the one that makes the tables.
func TestConcurrentOpensOfANewDatabase(t *testing.T) {
	t.Parallel()
	for range 5 {
		url := newDatabase(t)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			db := openURL(t, url)
			if err := db.PingContext(ctx); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				<-start
				log, err := sqllog.OpenPostgres(ctx, db, sqllog.Config{})
				if err != nil {
					t.Error(err)
					return
				}
				if err := log.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		cancel()
	}
}
