// Command gin-app is a small social feed on gin and ginsse: when Bob comments on
// Alice's post or reacts to it, Alice sees it in every tab she has open, now or
// when her laptop wakes up.
//
// Read app.go for the routes, post.go for where an event is sent, events.go for
// where it is received, session.go for who may receive it, store.go for where
// everything is kept, and nodes.go for several processes.
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

	"github.com/ginsse/ginsse"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
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

// shutdownTime is how long requests in progress may take to end: longer than the server
// waits for what a client has yet to send. Streams end at once, since they are told to.
const (
	readTime     = 10 * time.Second
	shutdownTime = 15 * time.Second
)

// run serves the application until ctx ends. It writes the URL to stdout, once
// the server accepts connections, and logs to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("gin-app", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main says what is wrong
	flags.Usage = func() {}
	addr := flags.String("addr", "127.0.0.1:8080", "listen on this `address`")
	database := flags.String("db", "", "keep everything in this `file`; "+inMemory+" keeps it until the program ends (default gin-app.db in the user's cache directory)")
	h2c := flags.Bool("h2c", false, "speak HTTP/2 without TLS too, for a proxy in front")
	natsAddress := flags.String("nats", "", "share events with other processes on the same database by this NATS server, as in nats://127.0.0.1:4222 (a `URL`); "+embedNATS+" runs one in this process, at that port, or "+embedNATS+":PORT")
	secure := flags.Bool("secure", false, "the page is served over HTTPS, by a proxy in front: cookies for HTTPS only")
	proxies := flags.String("proxy", "", "believe what X-Forwarded-For says in requests from these `addresses` and networks, as in 127.0.0.1,10.0.0.0/8: those of the proxy in front")
	noDemo := flags.Bool("no-demo", false, "add no demo people, and let in none of those there are")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stderr, "usage: gin-app [flags]")
			flags.SetOutput(stderr)
			flags.PrintDefaults()
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	if *database == "" {
		var err error
		if *database, err = defaultDatabase(); err != nil {
			return fmt.Errorf("finding a place for the database: %w; name one with -db", err)
		}
	}
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	cfg := appConfig{Logger: logger, Database: *database, Demo: !*noDemo, Secure: *secure}
	if *proxies != "" {
		cfg.Proxies = strings.Split(*proxies, ",")
	}
	if *natsAddress != "" {
		if cfg.Nodes, err = openNodes(ctx, *natsAddress, *database, logger); err != nil {
			return err
		}
	}
	application, err := newApp(ctx, cfg)
	if err != nil {
		if cfg.Nodes != nil {
			err = errors.Join(err, cfg.Nodes.Close())
		}
		return fmt.Errorf("%s: %w", *database, err)
	}
	defer func() { err = errors.Join(err, application.Close()) }()
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("%w; -addr names another address", err)
	}
	if isLocal(listener.Addr()) && !*secure {
		application.Handler = onlyLocalNames(application.Handler)
	} else if !*noDemo {
		logger.Warn("others can sign in as the demo people, whose password everybody knows: see -no-demo")
	}
	fmt.Fprintf(stdout, "Listening on http://%s\nKeeping everything in %s\n", listener.Addr(), *database)
	if cfg.Nodes != nil && cfg.Nodes.server != nil {
		fmt.Fprintf(stdout, "Other processes join with -nats %s\n", cfg.Nodes.url)
	}
	if !*noDemo {
		fmt.Fprintf(stdout, "Sign in as alice, bob or carol with password %q\n", demoPassword)
	}
	return serve(ctx, newServer(application, logger, *h2c), listener)
}

// defaultDatabase returns the file in the user's cache directory, which it makes.
func defaultDatabase() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "gin-app")
	return filepath.Join(dir, "gin-app.db"), os.MkdirAll(dir, 0o700)
}

// newServer returns the server of the application. Its timeouts are for ordinary
// requests: an event stream outlives them, as the kit puts a deadline on each
// write instead. With the kit's ConnContext, the server notices a client that vanished
// within a minute.
func newServer(application *app, logger *slog.Logger, h2c bool) *http.Server {
	server := &http.Server{
		Handler:           application,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       readTime,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10, // a stream keeps its headers for as long as it lives
		ConnContext:       ginsse.ConnContext,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	if h2c {
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
	}
	// Without this, Shutdown would wait for the streams, which end by themselves
	// only when their clients leave.
	server.RegisterOnShutdown(application.stop)
	return server
}

// serve runs the server until ctx ends and its requests have, or shutdownTime
// has passed.
func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	failed := make(chan error, 1) // room for Serve's one result, so that its goroutine ends
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) { // some client is too slow for a good end
		server.ErrorLog.Print("shutting down: requests that were not done in time are cut off")
		err = server.Close()
	}
	<-failed // ErrServerClosed, now that Shutdown was called
	return err
}
