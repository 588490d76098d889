package redislog

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// trimBatch is how many entries one request removes at most. Others can write between two.
	trimBatch = 5000
	// trimInterval is the longest time between two looks at what is to be removed.
	trimInterval = time.Second
)

// trimmer removes what is old until the log is closed.
func (l *Log) trimmer() {
	ticker := time.NewTicker(min(trimInterval, l.cfg.MaxAge/8))
	defer ticker.Stop()
	for failed := false; ; {
		select {
		case <-ticker.C:
		case <-l.life.Done():
			return
		}
		err := l.trim(l.life)
		switch {
		case err != nil && !failed && l.life.Err() == nil:
			l.cfg.Logger.Warn("cannot remove old events", slog.Any("error", err))
		case err == nil && failed:
			l.cfg.Logger.Info("can remove old events again")
		}
		failed = err != nil
	}
}

// trim removes the entries that are too old, and the oldest ones if there are too many.
func (l *Log) trim(ctx context.Context) error {
	call := trimScript.call([]string{l.keys.entries, l.keys.state}, l.cfg.MaxAge.Milliseconds(), l.cfg.MaxBytes, trimBatch)
	for more := true; more; {
		err := l.server.do(ctx, func(ctx context.Context, client *redis.Client) error {
			ctx, cancel := context.WithTimeout(ctx, requestTimeout)
			defer cancel()
			answer, _, err := trimScript.run(ctx, client, call)
			if err != nil {
				return err
			}
			more = answer == int64(1)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
