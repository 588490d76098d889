// Command gin-app is a small social feed on gin and ginsse. When Bob comments on Alice's post,
// Alice sees it in all her tabs: at once, or when her laptop wakes up.
//
// Start reading with the routes in app.go. Then store_comment.go shows a transaction that sends
// events, and events.go the event stream. session.go has the sessions, store.go the database, and
// nodes.go and nodes_redis.go events by NATS and by Redis.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9/logging"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/promginsse"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	logging.Disable() // go-redis writes a line for each attempt to connect; the event log says when Redis is gone
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "gin-app:", err)
		os.Exit(1)
	}
}

// shutdownTimeout is how long a shutdown waits for requests in progress. It is longer than
// readTimeout, so that slow uploads end first. Streams do not count: they close at once.
const (
	readTimeout     = 10 * time.Second
	shutdownTimeout = 15 * time.Second
)

// run serves the application until ctx ends. It logs to stderr. When the server accepts
// connections, run writes the URL to stdout.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("gin-app", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error
	flags.Usage = func() {}
	addr := flags.String("addr", "127.0.0.1:8080", "listen on this `address`")
	database := flags.String("db", "", "keep all data in this SQLite `file`; with "+inMemory+" it is lost when the program ends (default gin-app.db in the user's cache directory)")
	postgres := flags.String("postgres", "", "keep all data in the Postgres database at this `URL`, such as postgres://app@db.example/feed, instead of a file; processes with the same URL share events")
	metricsAddress := flags.String("metrics", "", "serve metrics for Prometheus on this `address`, such as 127.0.0.1:9100, at /metrics; whoever reaches it can read them")
	h2c := flags.Bool("h2c", false, "also accept HTTP/2 without TLS, from a proxy")
	natsAddress := flags.String("nats", "", "keep the events in the NATS server at this `URL` instead of the database, such as nats://127.0.0.1:4222; "+embedNATS+" or "+embedNATS+":PORT runs a NATS server in this process, by default on port 4222")
	redisAddress := flags.String("redis", "", "keep the events in the Redis at this `URL` instead of the database, such as redis://127.0.0.1:6379/0")
	secure := flags.Bool("secure", false, "send the session cookie over HTTPS only; for use behind a proxy that speaks HTTPS")
	proxies := flags.String("proxy", "", "trust X-Forwarded-For in requests from these `addresses` and networks of proxies, such as 127.0.0.1,10.0.0.0/8")
	var admins []string
	flags.Func("admin", "let the users with these `names`, such as dave,erin, announce a maintenance and see the page for operators, /debug/events; they must have signed up", func(names string) error {
		for name := range strings.SplitSeq(names, ",") {
			admins = append(admins, strings.TrimSpace(name))
		}
		return nil
	})
	noDemo := flags.Bool("no-demo", false, "add no demo users, and refuse sign-ins of those that exist")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stderr, "usage: gin-app [flags]")
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: gin-app takes flags only, see -help", flags.Arg(0))
	}

	if err := checkPlaces(*database, *postgres, *natsAddress, *redisAddress); err != nil {
		return err
	}
	if *postgres == "" && *database == "" {
		var err error
		if *database, err = defaultDatabase(); err != nil {
			return fmt.Errorf("no default place for the database: %w; choose a file with -db", err)
		}
	}
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	cfg := appConfig{Logger: logger, Database: *database, Postgres: *postgres, Demo: !*noDemo, Secure: *secure, Admins: admins}
	if *metricsAddress != "" {
		cfg.Metrics = promginsse.New()
	}
	if *proxies != "" {
		cfg.Proxies = strings.Split(*proxies, ",")
	}
	switch {
	case *natsAddress != "":
		connected, err := openNodes(ctx, *natsAddress, *database, logger)
		if err != nil {
			return err
		}
		cfg.Log = connected
	case *redisAddress != "":
		log, err := openRedis(ctx, *redisAddress, *database, logger)
		if err != nil {
			return err
		}
		cfg.Log = log
	}
	application, err := newApp(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, application.Close()) }()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("%w; choose another address with -addr", err)
	}
	if isLoopback(listener.Addr()) && !*secure {
		application.Handler = requireLocalHost(application.Handler, "Behind a proxy that speaks HTTPS, start it with -secure.")
	} else if !*noDemo {
		logger.Warn("other machines can sign in as the demo users, whose password is public; use -no-demo")
	}
	metrics, err := serveMetrics(*metricsAddress, cfg.Metrics, application.registry, logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, metrics.stop()) }()
	announce(stdout, listener.Addr(), metrics, cfg)
	return serve(ctx, newServer(application, logger, *h2c), listener)
}

// announce says where the program is, now that it accepts connections.
func announce(stdout io.Writer, addr net.Addr, metrics *metricsServer, cfg appConfig) {
	fmt.Fprintf(stdout, "Listening on http://%s\nDatabase: %s\n", addr, cfg.describeDatabase())
	if metrics.addr != nil {
		fmt.Fprintf(stdout, "Metrics: http://%s/metrics\n", metrics.addr)
	}
	if connected, ok := cfg.Log.(*nodes); ok && connected.server != nil {
		fmt.Fprintf(stdout, "Start other processes with -nats %s\n", connected.url)
	}
	if cfg.Demo {
		fmt.Fprintf(stdout, "Sign in as alice, bob or carol with password %q\n", demoPassword)
	}
}

// checkPlaces refuses flags that name two places for the same data.
func checkPlaces(database, postgres, nats, redis string) error {
	switch {
	case postgres != "" && database != "":
		return errors.New("choose one database: -db or -postgres")
	case postgres != "" && nats != "":
		return errors.New("-postgres keeps the events in the database: leave out -nats")
	case postgres != "" && redis != "":
		return errors.New("-postgres keeps the events in the database: leave out -redis")
	case nats != "" && redis != "":
		return errors.New("choose one place for the events: -nats or -redis")
	}
	return nil
}

// defaultDatabase returns the name of the default database file. It creates the folder.
func defaultDatabase() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "gin-app")
	return filepath.Join(dir, "gin-app.db"), os.MkdirAll(dir, 0o700)
}

// newServer returns the HTTP server of the application. Its timeouts apply to ordinary
// requests only: ginsse replaces them on an event stream with a deadline for each write. With
// [ginsse.ConnContext] the server detects a client that vanished within a minute.
func newServer(application *app, logger *slog.Logger, h2c bool) *http.Server {
	server := &http.Server{
		Handler:           application,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       readTimeout,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10, // a stream keeps its request headers in memory
		ConnContext:       ginsse.ConnContext,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	if h2c {
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
	}
	// Shutdown waits for all requests, and a stream ends only when its client leaves. So the
	// streams must be closed when Shutdown begins.
	server.RegisterOnShutdown(application.stop)
	return server
}

// serve runs the server until ctx ends. Then it waits for requests in progress, for
// shutdownTimeout at most.
func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	failed := make(chan error, 1) // one slot, so that the goroutine can end
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		server.ErrorLog.Print("shutdown: dropping requests that did not end in time")
		err = server.Close()
	}
	<-failed // ErrServerClosed, after Shutdown or Close
	return err
}
