package sqllog

import (
	"fmt"
	"log/slog"
	"regexp"
	"time"
)

// Config holds the settings of a [Log]. Zero means default. All nodes on one database use the same
// MaxAge and MaxBytes.
type Config struct {
	// TablePrefix begins the names of the log's tables, for example "ginsse_" or, on Postgres,
	// "events.ginsse_" for tables in the schema events. It has small letters, digits and _.
	// Default "ginsse_".
	TablePrefix string
	// SkipMigrations says that the tables were made by the application's own tool, from the text of
	// [Migrations]. [OpenSQLite] then changes no table, and fails if they have another version.
	SkipMigrations bool
	// MaxAge is how long an event is kept, by the clock of the database, at least 1 s. Default 1 hour.
	MaxAge time.Duration
	// MaxBytes bounds the bytes of all events. Each counts with 64 bytes beside its frame and subject.
	// Above the bound, the oldest events are removed first. It is exceeded by what comes within a
	// second, and files do not shrink. Default 1 GiB.
	MaxBytes int64
	// RecentBytes bounds the memory for the newest events on this node, each counted with 320 bytes of
	// bookkeeping. The newest event is always held. Default 64 MiB.
	RecentBytes int
	// PollInterval is how often the log looks for events of other processes and of transactions. An
	// idle node asks the database as often. Default 5 ms.
	PollInterval time.Duration
	// AppendTimeout bounds Append and the opening if their context has no deadline. Default 5 s.
	AppendTimeout time.Duration
	// Logger gets a record at level warn when the log cannot read the database, and one at level info
	// when it can again. It gets one warning about rows that are not events, and one if old events
	// cannot be removed. No record holds an event. Default: discard.
	Logger *slog.Logger
}

const (
	defaultTablePrefix   = "ginsse_"
	defaultMaxAge        = time.Hour
	defaultMaxBytes      = 1 << 30
	defaultRecentBytes   = 64 << 20
	defaultAppendTimeout = 5 * time.Second
)

var tablePrefix = regexp.MustCompile(`^([a-z_][a-z0-9_]{0,40}\.)?[a-z_][a-z0-9_]{0,40}$`)

// resolve fills in the defaults. The error names the field that is wrong.
func (c *Config) resolve(poll time.Duration) error {
	setDefault(&c.TablePrefix, defaultTablePrefix)
	setDefault(&c.MaxAge, defaultMaxAge)
	setDefault(&c.MaxBytes, defaultMaxBytes)
	setDefault(&c.RecentBytes, defaultRecentBytes)
	setDefault(&c.PollInterval, poll)
	setDefault(&c.AppendTimeout, defaultAppendTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case !tablePrefix.MatchString(c.TablePrefix):
		return fmt.Errorf("sqllog: Config.TablePrefix is %q; it may have small letters, digits and _, after a schema and a dot", c.TablePrefix)
	case c.MaxAge < time.Second:
		return fmt.Errorf("sqllog: Config.MaxAge is %v, less than 1 s", c.MaxAge)
	case c.MaxBytes < 0:
		return fmt.Errorf("sqllog: Config.MaxBytes is %d; a log must hold something", c.MaxBytes)
	case c.RecentBytes < 0:
		return fmt.Errorf("sqllog: Config.RecentBytes is %d; the newest event is always kept", c.RecentBytes)
	case c.PollInterval < time.Millisecond:
		return fmt.Errorf("sqllog: Config.PollInterval is %v, less than 1 ms", c.PollInterval)
	case c.AppendTimeout < 0:
		return fmt.Errorf("sqllog: Config.AppendTimeout is %v", c.AppendTimeout)
	}
	return nil
}

func setDefault[T comparable](value *T, otherwise T) {
	if *value == *new(T) {
		*value = otherwise
	}
}
