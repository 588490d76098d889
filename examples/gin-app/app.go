package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// appConfig holds what differs between the program and its tests.
type appConfig struct {
	Logger *slog.Logger
	// Database is the file that everything is kept in, or [inMemory].
	Database string
	// Demo adds the demo people and their posts. Without it those that are there
	// from earlier cannot sign in.
	Demo bool
	// Nodes are the other processes on the same database; nil if there are none. The
	// application closes it.
	Nodes *nodes
	// Secure has the cookie sent over TLS only, which a proxy in front speaks.
	Secure bool
	// Proxies are the addresses and networks of the proxies in front. X-Forwarded-For is
	// read in requests from these only. Default: none.
	Proxies []string
	// SessionTime is how long a token lives. Default: defaultSessionTime.
	SessionTime time.Duration
	// Stream configures the streams. Default: the kit's.
	Stream ginsse.StreamConfig
	// PasswordCost is for argon2id. Default: defaultPasswordCost.
	PasswordCost passwordCost
}

// app is the application: what its handlers share. It serves HTTP.
//
// Concurrency: everything in it may be used by several goroutines.
type app struct {
	http.Handler // the routes

	store     *store
	passwords *passwords
	sessions  *sessions
	registry  *ginsse.Registry
	nodes     *nodes // nil if there is but one
	logger    *slog.Logger
	demo      []string // the names of the demo people; set when they are added, then read-only
	stopping  atomic.Bool
}

// newApp returns an application on its database, with the demo's people if cfg says
// so. It must be closed.
func newApp(ctx context.Context, cfg appConfig) (*app, error) {
	a := &app{logger: cfg.Logger, nodes: cfg.Nodes, demo: []string{}}
	var err error
	if a.store, err = openStore(ctx, cfg.Database); err != nil {
		return nil, err
	}
	if err := a.begin(ctx, cfg); err != nil {
		return nil, errors.Join(err, a.store.Close())
	}
	return a, nil
}

func (a *app) begin(ctx context.Context, cfg appConfig) (err error) {
	if a.passwords, err = newPasswords(cfg.PasswordCost); err != nil {
		return err
	}
	if a.sessions, err = newSessions(ctx, a.store, cfg); err != nil {
		return err
	}
	if cfg.Demo {
		if err := a.addDemo(ctx); err != nil {
			return err
		}
	}
	engine := gin.New()
	engine.RemoteIPHeaders = []string{"X-Forwarded-For"} // proxies leave other headers as the client wrote them
	if err := engine.SetTrustedProxies(cfg.Proxies); err != nil {
		return fmt.Errorf("addresses of the proxies: %w", err)
	}
	a.addRoutes(engine)
	a.Handler = engine
	streams := ginsse.RegistryConfig{Stream: cfg.Stream, ConnectFunc: a.streamOpened, Logger: cfg.Logger}
	if a.nodes != nil {
		streams.Log = a.nodes
	}
	a.registry, err = ginsse.NewRegistry(streams)
	return err
}

// stop ends all streams, and has the application called not ready.
func (a *app) stop() {
	a.stopping.Store(true)
	a.registry.Close()
}

// Close ends all streams and closes the database. The server has been shut down
// before: nobody is answered any more.
func (a *app) Close() error {
	a.stop()
	var err error
	if a.nodes != nil {
		err = a.nodes.Close()
	}
	return errors.Join(err, a.store.Close())
}

// readMethods are those of a request that only reads.
var readMethods = []string{http.MethodGet, http.MethodHead}

// addRoutes is the HTTP interface on one screen.
func (a *app) addRoutes(r *gin.Engine) {
	r.RedirectTrailingSlash = false // an address that is not there is not there
	r.Use(logRequests(a.logger), a.recoverPanics())
	r.NoRoute(noStore, func(c *gin.Context) { fail(c, errNoSuchRoute) })

	addPage(r)
	r.Match(readMethods, "/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	r.Match(readMethods, "/readyz", a.ready)

	// The kit's middleware says who it is and that the answer is a stream; admit
	// refuses who has signed out since or is not meant; the handler grants topics and
	// serves.
	r.GET("/events", limitBody, ginsse.Middleware(a.sessions.auth), a.sessions.admit, a.events)

	public := r.Group("/api", noStore, refuseCrossSite(), limitBody)
	public.Match(readMethods, "/session", a.getSession)
	public.POST("/session", a.signIn)
	public.POST("/users", a.signUp)
	public.Match(readMethods, "/demo", a.getDemo)

	api := public.Group("", a.sessions.auth.RequireUser(), a.sessions.admit)
	get := func(path string, handler gin.HandlerFunc) { api.Match(readMethods, path, handler) }
	get("/me", a.me)
	api.DELETE("/session", a.signOut)

	get("/posts", a.listPosts)
	api.POST("/posts", a.addPost)
	get("/posts/:id", a.getPost)
	get("/posts/:id/comments", a.listComments)
	api.POST("/posts/:id/comments", a.addComment)
	api.POST("/posts/:id/reactions", a.addReaction)
	api.DELETE("/posts/:id/reactions/:kind", a.removeReaction)

	get("/notifications", a.listNotifications)
	api.POST("/notifications/read", a.readNotifications)
}

// ready says whether requests can be served: to a load balancer, which should send
// nobody to a server that is stopping or has no database.
func (a *app) ready(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), time.Second)
	defer cancel()
	err := a.store.Ping(ctx)
	if err == nil && a.nodes != nil {
		err = a.nodes.Ready()
	}
	if a.stopping.Load() || err != nil {
		if err != nil {
			_ = c.Error(err)
		}
		c.JSON(http.StatusServiceUnavailable, gin.H{"status": "not ready"})
		return
	}
	c.JSON(http.StatusOK, gin.H{"status": "ready"})
}

// refuseCrossSite keeps other sites' pages from acting through a visitor's
// browser. The kit does so for requests with the session's cookie; this also
// covers those before there is one, so that nobody is signed in as somebody else
// by a page they visit. Clients that are no browsers send neither header and are
// let through.
func refuseCrossSite() gin.HandlerFunc {
	protection := http.NewCrossOriginProtection()
	return func(c *gin.Context) {
		if err := protection.Check(c.Request); err != nil {
			fail(c, errCrossSite)
		}
	}
}

// noStore keeps answers, which are one person's, out of every cache, and from being
// taken for something else.
func noStore(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
}

// logRequests logs each request when it has ended: a stream when its client has
// left. Of the URL it logs the path only.
func logRequests(logger *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		start := time.Now()
		c.Next()
		level := slog.LevelInfo
		if c.Writer.Status() >= http.StatusInternalServerError {
			level = slog.LevelError
		}
		attrs := []slog.Attr{
			slog.String("method", c.Request.Method),
			slog.String("path", clip(c.Request.URL.Path)),
			slog.Int("status", c.Writer.Status()),
			slog.Duration("took", time.Since(start)),
		}
		if user := ginsse.UserID(c); user != "" {
			attrs = append(attrs, slog.String("user", user))
		}
		if len(c.Errors) > 0 {
			attrs = append(attrs, slog.String("errors", clip(strings.Join(c.Errors.Errors(), "; "))))
		}
		logger.LogAttrs(c.Request.Context(), level, "request", attrs...)
	}
}

// clip shortens what a client may have made long.
func clip(text string) string {
	const most = 300
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// recoverPanics answers 500 for a handler that panicked. Nothing of the request
// is printed but what logRequests prints.
func (a *app) recoverPanics() gin.HandlerFunc {
	return gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, p any) {
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p) // the server's own signal to cut the connection
		}
		a.logger.ErrorContext(c.Request.Context(), "panic", "panic", p, "stack", string(debug.Stack()))
		if c.Writer.Written() {
			panic(http.ErrAbortHandler) // a half answer must not look whole
		}
		fail(c, errInternal)
	})
}
