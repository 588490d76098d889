package redislog

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// Config holds the settings of a [Log]. Zero means default. Only Wait is off by default, and no other
// setting can be turned off. All nodes of an application use the same Prefix, MaxAge and MaxBytes.
type Config struct {
	// Prefix begins the names of the log's keys and channels, such as "{shop}:". It has at most 64
	// characters: letters, digits, : - _ and one part in braces. Redis Cluster puts all keys with the
	// same part in braces on one server. Logs that share a Redis need different prefixes. Default
	// "{ginsse}:".
	Prefix string
	// MaxAge is how long an event is kept, by the clock of Redis, at least 100 ms. Nodes compare
	// that time with their own clocks, which should differ by far less. Default 1 hour.
	MaxAge time.Duration
	// MaxBytes bounds the bytes of all events in Redis. Each counts with about 75 bytes beside its frame,
	// subject and key. Redis needs about 1.5 times as much memory for small events. Above the bound,
	// the oldest events are removed first, once a second. Default 256 MiB.
	MaxBytes int64
	// RecentBytes bounds the memory for the newest events on this node, each counted with 320 bytes
	// of bookkeeping. Opening reads them from Redis. The newest event is always held. The node never
	// holds more than MaxBytes. Default 64 MiB.
	RecentBytes int
	// AppendTimeout bounds Append if its context has no deadline. Default 5 s.
	AppendTimeout time.Duration
	// Wait is the number of replicas that have an event before Append returns, by the command WAIT.
	// With Wait, a failover gives a gap only if a node that is still running has seen an event that
	// the new master lacks. While fewer replicas are connected, Append returns an error. Default 0: a
	// failover may lose an event that was acknowledged, and all streams get a gap after each failover.
	Wait int
	// Logger gets a record at level warn when the log cannot read Redis or cannot remove old events,
	// and one at level info when it can again. It gets one at level warn when the log was lost or
	// rolled back, when messages to other nodes cannot be sent, and about the first entry that is not
	// an event. No record holds an event.
	// Default: discard.
	Logger *slog.Logger
}

const (
	defaultPrefix        = "{ginsse}:"
	defaultMaxAge        = time.Hour
	defaultMaxBytes      = 256 << 20
	defaultRecentBytes   = 64 << 20
	defaultAppendTimeout = 5 * time.Second

	// openTimeout bounds opening if its context has no deadline: it reads RecentBytes.
	openTimeout = 30 * time.Second
	// maxFrame is the most bytes of a frame.
	maxFrame = 16 << 20
	// eventOverhead is what an event counts for in MaxBytes beside its field. append.lua has it too.
	eventOverhead = 64
)

var prefixes = regexp.MustCompile(`^[A-Za-z0-9:_-]*\{[A-Za-z0-9:_-]+\}[A-Za-z0-9:_-]*$`)

// resolve fills in the defaults. The error names the field that is wrong.
func (c *Config) resolve() error {
	c.Prefix = cmp.Or(c.Prefix, defaultPrefix)
	c.MaxAge = cmp.Or(c.MaxAge, defaultMaxAge)
	c.MaxBytes = cmp.Or(c.MaxBytes, defaultMaxBytes)
	c.RecentBytes = cmp.Or(c.RecentBytes, defaultRecentBytes)
	c.AppendTimeout = cmp.Or(c.AppendTimeout, defaultAppendTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(c.Prefix) > 64 || !prefixes.MatchString(c.Prefix):
		return fmt.Errorf("redislog: Config.Prefix is %.80q; it may have at most 64 letters, digits and the characters : - _ and needs a part in braces, as in {ginsse}", c.Prefix)
	case c.MaxAge < 100*time.Millisecond:
		return fmt.Errorf("redislog: Config.MaxAge is %v, less than 100 ms", c.MaxAge)
	case c.MaxBytes < 0:
		return fmt.Errorf("redislog: Config.MaxBytes is %d; it must be 1 or more, or 0 for the default", c.MaxBytes)
	case c.RecentBytes < 0:
		return fmt.Errorf("redislog: Config.RecentBytes is %d; it must be 1 or more, or 0 for the default", c.RecentBytes)
	case c.AppendTimeout < 0:
		return fmt.Errorf("redislog: Config.AppendTimeout is %v; it must be above 0, or 0 for the default", c.AppendTimeout)
	case c.Wait < 0:
		return fmt.Errorf("redislog: Config.Wait is %d; it must be a number of replicas, or 0 to wait for none", c.Wait)
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

// check refuses a record that the log cannot hold.
func (c *Config) check(r eventlog.Record) error {
	if err := r.Check(); err != nil {
		return err
	}
	if len(r.Frame) > maxFrame {
		return fmt.Errorf("%w: the frame has %d bytes, more than %d", eventlog.ErrTooLarge, len(r.Frame), maxFrame)
	}
	if size := int64(sizeOfEvent(r) + eventOverhead); size > c.MaxBytes {
		return fmt.Errorf("%w: it counts %d bytes, more than Config.MaxBytes, %d", eventlog.ErrTooLarge, size, c.MaxBytes)
	}
	return nil
}
