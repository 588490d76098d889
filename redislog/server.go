package redislog

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/ginsse/ginsse/eventlog"
)

// server finds the server that has the log, and connects to it: the master that the client of the
// application knows, by its address, from Sentinel or from the cluster. The connections are not those
// of the application, which may have other timeouts, and may be busy.
type server struct {
	application redis.UniversalClient
	key         string          // of the entries
	life        context.Context // of the log

	mu     sync.Mutex // guards the fields below
	client *redis.Client
	moved  bool // the cluster is asked for the server again
	closed bool
}

// poolSize is enough for the tail, the appender, the poster, the trimmer, Head and storeReads.
const poolSize = 16

// get returns a client of the server. Its requests end with their contexts, and are not repeated.
func (s *server) get(ctx context.Context) (*redis.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, eventlog.ErrClosed
	}
	if s.client != nil && !s.moved {
		return s.client, nil
	}
	var of *redis.Client
	switch application := s.application.(type) {
	case *redis.Client:
		of = application
	case *redis.ClusterClient:
		if s.moved {
			application.ReloadState(ctx)
		}
		var err error
		if of, err = application.MasterForKey(ctx, s.key); err != nil {
			return nil, fmt.Errorf("%w: finding the server of the log in the cluster; a server that is no cluster needs redis.NewClient: %w", eventlog.ErrUnavailable, err)
		}
		s.moved = false
		switch {
		case s.client == nil:
		case s.client.Options().Addr == of.Options().Addr:
			return s.client, nil
		default:
			_ = s.client.Close() // requests in progress fail, and are sent again
		}
	default:
		return nil, fmt.Errorf("redislog: a client of type %T is not supported; give a *redis.Client or a *redis.ClusterClient", application)
	}
	options := *of.Options()
	options.ContextTimeoutEnabled = true
	options.MaxRetries = -1
	options.Protocol = 2 // its answers have one form
	options.PoolSize, options.MinIdleConns, options.MaxIdleConns, options.MaxActiveConns = poolSize, 0, 0, 0
	options.PoolTimeout, options.DialTimeout = requestTimeout, dialTimeout
	options.ReadTimeout, options.WriteTimeout = checkInterval+longestRead, requestTimeout // contexts end earlier
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	options.DialerRetries = 1
	// The dialer has the timeouts of the application. While a subscription connects, it is locked.
	dial, withTLS := options.Dialer, options.TLSConfig != nil
	options.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		defer context.AfterFunc(s.life, cancel)() //nolint:contextcheck // the log may be closed first
		conn, err := dialUntil(ctx, func() (net.Conn, error) { return dial(ctx, network, address) })
		if err != nil && withTLS {
			return nil, fmt.Errorf("connecting to %s with TLS, which a port without TLS does not answer: %w", address, err)
		}
		return conn, err
	}
	s.client = redis.NewClient(&options)
	return s.client, nil
}

// dialUntil returns when ctx ends, even if dial does not: that of go-redis for TLS waits as long as the
// application's client may. Its connection is closed then.
func dialUntil(ctx context.Context, dial func() (net.Conn, error)) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	dialed := make(chan result)
	go func() {
		conn, err := dial()
		select {
		case dialed <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				_ = conn.Close()
			}
		}
	}()
	select {
	case r := <-dialed:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// failed has get look for the server again, if the error of a client may be that another one has the
// log now. After other errors, the client connects again by itself.
func (s *server) failed(client *redis.Client, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil || s.client != client {
		return
	}
	if _, ok := s.application.(*redis.ClusterClient); ok && isTemporary(err) {
		s.moved = true
	} else if errors.Is(err, errNoMaster) || hasCode(err, "READONLY") {
		_ = s.client.Close() // requests in progress fail, and are sent again
		s.client = nil
	}
}

func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		_ = s.client.Close()
	}
	s.client, s.closed = nil, true
}

// do sends a request to the server.
func (s *server) do(ctx context.Context, request func(ctx context.Context, client *redis.Client) error) error {
	client, err := s.get(ctx)
	if err != nil {
		return err
	}
	err = request(ctx, client)
	switch {
	case err != nil && s.life.Err() != nil:
		return eventlog.ErrClosed
	case err != nil && ctx.Err() == nil:
		s.failed(client, err)
	}
	return err
}

// isTemporary reports whether another attempt may succeed: there was no answer, or the server cannot
// do it now.
func isTemporary(err error) bool {
	var answer redis.Error
	return !errors.As(err, &answer) || hasCode(err,
		"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "UNBLOCKED", "NOREPLICAS", "BUSY", "NOSCRIPT")
}

// hasCode reports whether an error is an answer of Redis with one of some codes.
func hasCode(err error, codes ...string) bool {
	var answer redis.Error
	return errors.As(err, &answer) && slices.ContainsFunc(codes, func(code string) bool {
		return strings.Contains(answer.Error(), code+" ") // in an error of a script, the code is not the first word
	})
}

// script is a script with its SHA-1. A server that does not have it yet gets the text.
type script struct{ *redis.Script }

var (
	//go:embed begin.lua
	beginLua string
	//go:embed state.lua
	stateLua string
	//go:embed append.lua
	appendLua string
	//go:embed trim.lua
	trimLua string

	stateScript  = script{redis.NewScript(beginLua + stateLua)}
	appendText   = beginLua + appendLua
	appendScript = script{redis.NewScript(appendText)}
	trimScript   = script{redis.NewScript(trimLua)}
)

// call is the command that runs a script.
func (s script) call(keys []string, args ...any) []any {
	command := append(make([]any, 0, 3+len(keys)+len(args)), "evalsha", s.Hash(), len(keys))
	for _, key := range keys {
		command = append(command, key)
	}
	return append(command, args...)
}

// run runs a script together with other commands. It returns their answers.
func (s script) run(ctx context.Context, client pipeliner, call []any, others ...[]any) (answer any, rest []any, err error) {
	for loaded := false; ; loaded = true {
		pipe := client.Pipeline()
		first := pipe.Do(ctx, call...)
		for _, other := range others {
			pipe.Do(ctx, other...)
		}
		all, _ := pipe.Exec(ctx) // its error is that of one of the commands
		answer, err = first.Result()
		if !loaded && redis.HasErrorPrefix(err, "NOSCRIPT") {
			if err := s.Load(ctx, client).Err(); err != nil {
				return nil, nil, err
			}
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		for _, one := range all[1:] {
			if err := one.Err(); err != nil {
				return nil, nil, err
			}
			rest = append(rest, one.(*redis.Cmd).Val()) //nolint:forcetypeassert // pipe.Do makes it
		}
		return answer, rest, nil
	}
}

// pipeliner is a client, or one of its connections.
type pipeliner interface {
	redis.Scripter
	Pipeline() redis.Pipeliner
}

// state is what a server says about the log and about itself.
type state struct {
	epoch  string // of the log
	base   uint64 // the number before the first one
	last   eventlog.Cursor
	total  int64
	replid string // of the server that took the log's last state, as the log knows it

	server replication
}

// replication is what a server says about its place in replication.
type replication struct {
	id        string // of its history
	before    string // of the history that it followed before it was promoted; zeros if it was not
	appending bool   // it keeps its commands in a file
}

var (
	errNoMaster = errors.New("the server is not the master")
	errForm     = errors.New("Redis answers in an unknown form") //nolint:staticcheck // a name
)

// change is how askState changes the state of the log, if that is still as it was.
type change struct {
	of       state // that the caller has seen
	newEpoch bool
}

// askState asks the server for the state of the log, and makes the log if it is missing.
func (l *Log) askState(ctx context.Context, client pipeliner, c change) (now state, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	newEpoch := 0
	if c.newEpoch {
		newEpoch = 1
	}
	call := stateScript.call([]string{l.keys.entries, l.keys.state}, newEpochText(), c.of.epoch, c.of.replid, c.of.server.id, newEpoch)
	answer, rest, err := stateScript.run(ctx, client, call, []any{"info", "replication"}, []any{"info", "persistence"})
	if err != nil {
		return now, err
	}
	info := parseInfo(fmt.Sprint(rest...))
	if info["role"] != "master" {
		return now, errNoMaster
	}
	fields, ok := answer.([]any)
	if !ok || len(fields) != 6 {
		return now, errForm
	}
	text := func(i int) string { t, _ := fields[i].(string); return t }
	now = state{epoch: text(0), replid: text(5), server: replication{
		id: info["master_replid"], before: info["master_replid2"], appending: info["aof_enabled"] == "1",
	}}
	now.last.Epoch = l.epochOf(now.epoch)
	var check uint64
	var errs [4]error
	now.base, errs[0] = strconv.ParseUint(text(1), 10, 64)
	now.last.Seq, errs[1] = strconv.ParseUint(text(2), 10, 64)
	check, errs[2] = strconv.ParseUint(text(3), 10, 32)
	now.total, errs[3] = strconv.ParseInt(text(4), 10, 64)
	now.last.Check = uint32(check)
	return now, errors.Join(errs[:]...)
}

// epochOf shortens the epoch of a log. It is never 0.
func (l *Log) epochOf(epoch string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(l.cfg.Prefix + epoch))
	return max(h.Sum32(), 1)
}

// parseInfo returns the fields of an answer of INFO.
func parseInfo(text string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

var oldVersions = regexp.MustCompile(`^([0-5]\.|6\.[01]\.)`)

// checkServer refuses a server that cannot hold the log.
func checkServer(ctx context.Context, client *redis.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	pipe := client.Pipeline()
	server, memory := pipe.Info(ctx, "server"), pipe.Info(ctx, "memory")
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("%w: asking Redis for its version: %w", eventlog.ErrUnavailable, err)
	}
	if version := parseInfo(server.Val())["redis_version"]; oldVersions.MatchString(version) {
		return fmt.Errorf("redislog: Redis has version %s, and the log needs 6.2 or later", version)
	}
	if policy := parseInfo(memory.Val())["maxmemory_policy"]; policy != "noeviction" {
		return fmt.Errorf("redislog: Redis has maxmemory-policy %s and may evict the log: set it to noeviction, or use another Redis", policy)
	}
	return nil
}
