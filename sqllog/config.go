package sqllog

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// Config holds the settings of a [Log]. Zero means default. No setting can be off. All nodes on one
// database use the same bounds.
type Config struct {
	// TablePrefix begins the names of the log's tables and functions: small letters, digits and _.
	// On Postgres a schema may come first: "events.ginsse_" is for tables in the schema events,
	// which has to exist. Default "ginsse_".
	TablePrefix string
	// SkipMigrations says that the application's own tool makes the tables, from the statements of
	// [PostgresMigrations] or [SQLiteMigrations]. Opening fails if they are not of this version.
	SkipMigrations bool
	// MaxAge is how long an event is kept, by the clock of the database, at least 100 ms. Nodes
	// compare that time with their own clocks, which should differ by far less. Default 1 hour.
	MaxAge time.Duration
	// MaxBytes bounds the bytes of all events. Each counts with 64 bytes beside its frame, subject and
	// key. When another event has replaced it by its key, its frame no longer counts. Above the bound,
	// the oldest events are removed first, once a second. Default 1 GiB.
	MaxBytes int64
	// RecentBytes bounds the memory for the newest events on this node, each counted with 320 bytes
	// of bookkeeping. Opening reads them from the database. The newest event is always held. The
	// node never holds more than MaxBytes. Default 64 MiB.
	RecentBytes int
	// PollInterval is how often the log polls the database for new events, and for what
	// transactions have committed: 1 to 500 ms. A poll is one short query. After an event was put
	// into a transaction on this node, the log polls every 2 ms for a while. Default 10 ms.
	PollInterval time.Duration
	// AppendTimeout bounds Append if its context has no deadline. Default 5 s.
	AppendTimeout time.Duration
	// Logger gets a record at level warn when the log cannot read the database, and one at level
	// info when it can again; the same for listening. It gets one warning about rows that are not
	// events, and one if old events cannot be removed. No record holds an event. Default: discard.
	Logger *slog.Logger

	// Listen, on Postgres, listens for notifications of other nodes, so that their events arrive
	// without waiting for the next poll; see [ListenFunc]. It needs a connection straight to the
	// server: through pgbouncer in transaction mode, notifications do not arrive. Opening finds
	// that out, and fails. Default: the log only polls.
	Listen ListenFunc
	// SynchronousStandby, on Postgres, says that a standby that is promoted has every transaction
	// that was committed, because synchronous_standby_names requires it. A failover then gives no
	// gap. Default: all streams get a gap after a promotion, because a standby may lack the newest
	// events.
	SynchronousStandby bool
}

// ListenFunc listens on a channel of Postgres. It calls ready when it listens, and notified for
// each notification, until ctx ends or the connection is lost. Then it returns the error. Package
// pgxlog has one. The log calls it again after a pause.
type ListenFunc func(ctx context.Context, channel string, ready, notified func()) error

const (
	defaultTablePrefix   = "ginsse_"
	defaultMaxAge        = time.Hour
	defaultMaxBytes      = 1 << 30
	defaultRecentBytes   = 64 << 20
	defaultPollInterval  = 10 * time.Millisecond
	defaultAppendTimeout = 5 * time.Second

	// maxPollInterval leaves time for several polls before the node counts as partitioned.
	maxPollInterval = contactTimeout / 4
	// openTimeout bounds opening if its context has no deadline: it reads RecentBytes.
	openTimeout = 30 * time.Second
)

// tablePrefix leaves room for the longest name within the 63 bytes of Postgres.
var tablePrefix = regexp.MustCompile(`^([a-z_][a-z0-9_]{0,29}\.)?[a-z_][a-z0-9_]{0,28}$`)

// resolve fills in the defaults. The error names the field that is wrong.
func (c *Config) resolve() error {
	c.TablePrefix = cmp.Or(c.TablePrefix, defaultTablePrefix)
	c.MaxAge = cmp.Or(c.MaxAge, defaultMaxAge)
	c.MaxBytes = cmp.Or(c.MaxBytes, defaultMaxBytes)
	c.RecentBytes = cmp.Or(c.RecentBytes, defaultRecentBytes)
	c.PollInterval = cmp.Or(c.PollInterval, defaultPollInterval)
	c.AppendTimeout = cmp.Or(c.AppendTimeout, defaultAppendTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case !tablePrefix.MatchString(c.TablePrefix):
		return fmt.Errorf("sqllog: Config.TablePrefix is %q; it may have at most 29 small letters, digits and _, and before them the name of a schema with a dot", c.TablePrefix)
	case c.MaxAge < 100*time.Millisecond:
		return fmt.Errorf("sqllog: Config.MaxAge is %v, less than 100 ms", c.MaxAge)
	case c.MaxBytes < 0:
		return fmt.Errorf("sqllog: Config.MaxBytes is %d; it must be 1 or more, or 0 for the default", c.MaxBytes)
	case c.RecentBytes < 0:
		return fmt.Errorf("sqllog: Config.RecentBytes is %d; it must be 1 or more, or 0 for the default", c.RecentBytes)
	case c.PollInterval < time.Millisecond || c.PollInterval > maxPollInterval:
		return fmt.Errorf("sqllog: Config.PollInterval is %v, not 1 ms to %v", c.PollInterval, maxPollInterval)
	case c.AppendTimeout < 0:
		return fmt.Errorf("sqllog: Config.AppendTimeout is %v; it must be above 0, or 0 for the default", c.AppendTimeout)
	}
	return nil
}

// bound returns a context with a deadline if it has none.
func bound(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

const (
	// maxSubject is the length of the longest subject.
	maxSubject = len("command:") + eventlog.MaxNameBytes
	// maxFrame is the most bytes of a frame.
	maxFrame = 16 << 20
	// maxStep is the most committed records that one transaction adds to the log on Postgres.
	maxStep = 4000
)

// check refuses a record that the log cannot hold.
func (c *Config) check(r eventlog.Record) error {
	if err := r.Check(); err != nil {
		return err
	}
	if len(r.Frame) > maxFrame {
		return fmt.Errorf("%w: the frame has %d bytes, more than %d", eventlog.ErrTooLarge, len(r.Frame), maxFrame)
	}
	if size := int64(len(r.Frame) + len(r.Subject) + len(r.Key) + rowOverhead); size > c.MaxBytes {
		return fmt.Errorf("%w: it counts %d bytes, more than Config.MaxBytes, %d", eventlog.ErrTooLarge, size, c.MaxBytes)
	}
	return nil
}
