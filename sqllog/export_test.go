package sqllog

import "context"

// CountInbox looks into the inbox of a log.
func CountInbox(ctx context.Context, l *Log, most int) (int, error) {
	return l.dialect.countInbox(ctx, most)
}
