package natslog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
)

// Config holds the settings of a [Log]. Zero means default. No setting can be off.
//
// Replicas and the four bounds are for a stream that [Open] creates. A stream that exists keeps its
// own bounds, and the log uses those. Differences are logged at level warn.
type Config struct {
	// Stream is the name of the JetStream stream: letters, digits, - and _. Default
	// "GINSSE".
	Stream string
	// Prefix begins the stream's NATS subjects: tokens of letters, digits, - and _ with
	// dots between them. Nothing else may be stored under it. Default "ginsse".
	Prefix string
	// Domain is the JetStream domain of the stream, for nodes that are connected to a
	// server outside it, such as a leaf node. Letters, digits, - and _. Default: the
	// domain of the server.
	Domain string
	// Replicas is the number of servers that hold the stream, 1 to 5. With the default of 1, events
	// are lost with their server.
	Replicas int
	// EventsPerSubject is the most events kept of one subject, such as one user or one topic. Events
	// with a key have the same bound for each key of a subject, and leave the others alone. A reader
	// that lags by more than this bound gets a gap; the newest event of a key counts as one. Default
	// 4096.
	EventsPerSubject int
	// MaxAge is how long an event is kept, at least 100 ms. Nodes and servers compare the time at
	// which the broker stored the event with their own clocks. The clocks should differ by far less
	// than MaxAge. Append retries a lost acknowledgement for as long, and for 2 minutes at most. A
	// DedupKey is known for as long, and for [eventlog.DedupWindow] at most. Default 1 hour.
	MaxAge time.Duration
	// MaxBytes bounds the stream on disk, per replica. Above it, the oldest events are removed
	// first. Default 1 GiB.
	MaxBytes int64
	// RecentBytes bounds the memory for the newest events on this node, each counted with 320 bytes
	// of bookkeeping. Open reads them from the broker. The newest event is always held. The node
	// never holds more than MaxBytes of the stream. Default 64 MiB.
	RecentBytes int
	// AppendTimeout bounds Append and Open if their context has no deadline. The default is longer
	// than an election of JetStream, which took 5.6 to 8.5 s in tests: an Append in progress when
	// a leader crashes succeeds. For a shorter wait, give the context a deadline; see [Log.Append].
	// Default 15 s.
	AppendTimeout time.Duration
	// Logger gets a record at level warn when the node cannot follow the stream, and one at level
	// info when it can again. It gets one warning about messages that are not events, and one if the
	// servers send no batches. No record holds an event. Default: discard.
	Logger *slog.Logger
}

const (
	defaultStream           = "GINSSE"
	defaultPrefix           = "ginsse"
	defaultEventsPerSubject = 4096
	defaultMaxAge           = time.Hour
	defaultMaxBytes         = 1 << 30
	defaultRecentBytes      = 64 << 20
	defaultAppendTimeout    = 15 * time.Second
)

var (
	streamName    = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	subjectPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// resolve fills in the defaults. The error names the field that is wrong.
func (c *Config) resolve() error {
	c.Stream = cmp.Or(c.Stream, defaultStream)
	c.Prefix = cmp.Or(c.Prefix, defaultPrefix)
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.EventsPerSubject = cmp.Or(c.EventsPerSubject, defaultEventsPerSubject)
	c.MaxAge = cmp.Or(c.MaxAge, defaultMaxAge)
	c.MaxBytes = cmp.Or(c.MaxBytes, defaultMaxBytes)
	c.RecentBytes = cmp.Or(c.RecentBytes, defaultRecentBytes)
	c.AppendTimeout = cmp.Or(c.AppendTimeout, defaultAppendTimeout)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case !streamName.MatchString(c.Stream):
		return fmt.Errorf("natslog: Config.Stream is %q; it may have letters, digits, - and _", c.Stream)
	case !subjectPrefix.MatchString(c.Prefix):
		return fmt.Errorf("natslog: Config.Prefix is %q; it may have tokens of letters, digits, - and _", c.Prefix)
	case c.Domain != "" && !streamName.MatchString(c.Domain):
		return fmt.Errorf("natslog: Config.Domain is %q; it may have letters, digits, - and _", c.Domain)
	case c.Replicas < 1 || c.Replicas > 5:
		return fmt.Errorf("natslog: Config.Replicas is %d, not 1 to 5", c.Replicas)
	case c.EventsPerSubject < 0:
		return fmt.Errorf("natslog: Config.EventsPerSubject is %d; a log must hold something", c.EventsPerSubject)
	case c.MaxAge < 100*time.Millisecond:
		return fmt.Errorf("natslog: Config.MaxAge is %v, less than the broker's 100 ms", c.MaxAge)
	case c.MaxBytes < 0:
		return fmt.Errorf("natslog: Config.MaxBytes is %d; a log must hold something", c.MaxBytes)
	case c.RecentBytes < 0:
		return fmt.Errorf("natslog: Config.RecentBytes is %d; the newest event is always kept", c.RecentBytes)
	case c.AppendTimeout < 0:
		return fmt.Errorf("natslog: Config.AppendTimeout is %v", c.AppendTimeout)
	}
	return nil
}

// streamConfig returns the configuration of a stream that Open creates.
func (c *Config) streamConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        c.Stream,
		Description: "events of package ginsse",
		Subjects:    c.subjects(),
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Storage:     jetstream.FileStorage,
		Replicas:    c.Replicas,
		// One more than asked for: a subject with fewer events than the bound has lost none.
		MaxMsgsPerSubject: int64(c.EventsPerSubject) + 1,
		MaxAge:            c.MaxAge,
		MaxBytes:          c.MaxBytes,
		MaxMsgs:           -1,
		Duplicates:        dedupWindow(c.MaxAge),
		AllowDirect:       true, // for batches
	}
}

// dedupWindow returns how long the broker has to know the id of a message in a stream.
func dedupWindow(maxAge time.Duration) time.Duration {
	if maxAge <= 0 {
		return eventlog.DedupWindow
	}
	return min(eventlog.DedupWindow, maxAge) // the broker accepts no more
}

// subjects returns the NATS subjects of the stream. Behind a subject of the log there may be a key.
func (c *Config) subjects() []string {
	return c.prefixed("all", "all.*", "user.>", "topic.>", "command.>", "revoke.>", "run.>")
}

// earlierSubjects returns the NATS subjects of a stream of v0.1.0, which had no keys.
func (c *Config) earlierSubjects() []string {
	return c.prefixed("all", "user.*", "topic.*", "command.*")
}

func (c *Config) prefixed(subjects ...string) (list []string) {
	for _, subject := range subjects {
		list = append(list, c.Prefix+"."+subject)
	}
	return list
}

// jetStream returns the JetStream of the stream, and the prefix of its API's subjects.
func (c *Config) jetStream(nc *nats.Conn) (js jetstream.JetStream, api string, err error) {
	if c.Domain == "" {
		js, err = jetstream.New(nc)
		return js, jetstream.DefaultAPIPrefix, err
	}
	js, err = jetstream.NewWithDomain(nc, c.Domain)
	return js, "$JS." + c.Domain + ".API.", err
}

// open returns the stream. It retries until ctx ends: a cluster that is starting, or has lost a
// leader, returns various errors or does not answer.
func (c *Config) open(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	var failure error
	for {
		info, err := c.find(ctx, js)
		switch {
		case err == nil:
			return info, c.verify(&info.Config)
		case !isTemporary(err) && !isCode(err, codeNoPeers):
			return nil, fmt.Errorf("natslog: stream %q: %w", c.Stream, err)
		case !errors.Is(err, context.DeadlineExceeded): // a missing answer does not replace an error that was received
			failure = explain(err)
		case failure == nil && js.Conn().IsConnected() && flush(ctx, js.Conn()) == nil:
			failure = errNoLeader // the server answers, and no leader does
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, c.notOpened(ctx.Err(), js.Conn(), failure)
		}
	}
}

// codeNoPeers: there are fewer servers than replicas. Some may be starting.
const codeNoPeers = 10005

// find asks once for the stream, and creates it if there is none.
func (c *Config) find(ctx context.Context, js jetstream.JetStream) (*jetstream.StreamInfo, error) {
	switch nc := js.Conn(); {
	case nc.IsClosed():
		return nil, nats.ErrConnectionClosed
	case !nc.IsConnected():
		return nil, nats.ErrDisconnected // the client would queue the request and send it later
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, c.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, c.streamConfig())
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another node was faster
			stream, err = js.Stream(ctx, c.Stream)
		}
	}
	if err != nil {
		return nil, err
	}
	return c.upgrade(ctx, js, stream.CachedInfo())
}

// upgrade adds the NATS subjects that a stream of v0.1.0 lacks. Its events stay where they are.
func (c *Config) upgrade(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo) (*jetstream.StreamInfo, error) {
	if !isSameList(info.Config.Subjects, c.earlierSubjects()) {
		return info, nil
	}
	cfg := info.Config
	cfg.Subjects = c.subjects()
	stream, err := js.UpdateStream(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("adding the subjects of events with keys: %w", err)
	}
	return stream.CachedInfo(), nil
}

func isSameList(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// notOpened returns the error of an Open whose ctx has ended. It wraps a violation of permissions
// if there was one, because the broker does not answer such a request, and else the last failure.
func (c *Config) notOpened(end error, nc *nats.Conn, failure error) error {
	if err := nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		failure = err
	}
	if failure == nil {
		failure = errors.New("the broker does not answer")
	}
	return fmt.Errorf("%w: opening stream %q: %w: %w", eventlog.ErrUnavailable, c.Stream, end, failure)
}

// verify returns an error for a stream on which the log could not keep its promises. Such a stream
// can lose events unnoticed, lacks subjects of the log, stores those of another application, or
// forgets a DedupKey too soon.
func (c *Config) verify(has *jetstream.StreamConfig) error {
	window := dedupWindow(has.MaxAge)
	for _, field := range []struct {
		name      string
		ok        bool
		has, want any
	}{
		{"Subjects", isSameList(has.Subjects, c.subjects()), has.Subjects, c.subjects()},
		{"Retention", has.Retention == jetstream.LimitsPolicy, has.Retention, jetstream.LimitsPolicy},
		{"Discard", has.Discard == jetstream.DiscardOld, has.Discard, jetstream.DiscardOld},
		{"NoAck", !has.NoAck, has.NoAck, false},
		{"Sealed", !has.Sealed, has.Sealed, false},
		{"AllowRollup", !has.AllowRollup, has.AllowRollup, false},
		{"AllowMsgTTL", !has.AllowMsgTTL, has.AllowMsgTTL, false},
		{"Mirror", has.Mirror == nil, has.Mirror, nil},
		{"Sources", len(has.Sources) == 0, has.Sources, nil},
		{"SubjectTransform", has.SubjectTransform == nil, has.SubjectTransform, nil},
		{"Duplicates", has.Duplicates >= window, has.Duplicates, fmt.Sprint("at least ", window)},
	} {
		if !field.ok {
			return fmt.Errorf("natslog: stream %q: %s is %v, must be %v", c.Stream, field.name, field.has, field.want)
		}
	}
	created := c.streamConfig()
	for _, field := range []struct {
		name      string
		has, want int64
	}{
		{"Replicas", int64(has.Replicas), int64(created.Replicas)},
		{"MaxMsgsPerSubject", has.MaxMsgsPerSubject, created.MaxMsgsPerSubject},
		{"MaxAge", int64(has.MaxAge), int64(created.MaxAge)},
		{"MaxBytes", has.MaxBytes, created.MaxBytes},
	} {
		if field.has != field.want {
			c.Logger.Warn("the stream differs from the configuration", slog.String("stream", c.Stream),
				slog.String("field", field.name), slog.Int64("is", field.has), slog.Int64("configured", field.want))
		}
	}
	return nil
}
