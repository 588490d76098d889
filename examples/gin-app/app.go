package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	runtimedebug "runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/browser"
	"github.com/ginsse/ginsse/debug"
	"github.com/ginsse/ginsse/promginsse"
)

// appConfig holds the settings of the application.
type appConfig struct {
	Logger *slog.Logger
	// Database is the name of the SQLite file, or [inMemory].
	Database string
	// Postgres is the address of a Postgres database, to use instead of Database.
	Postgres string
	// Demo adds the demo users and their posts. Without it, demo users of an earlier run
	// cannot sign in.
	Demo bool
	// Log has the events. Default: a log in the database. The application closes it.
	Log eventLog
	// Secure restricts the session cookie to HTTPS. Set it behind a proxy that speaks TLS.
	Secure bool
	// Proxies are the addresses and networks of trusted proxies. Only their X-Forwarded-For
	// headers are read. Default: none.
	Proxies []string
	// Admins are the names of users who may announce a maintenance, and see the page for operators.
	// They must exist.
	Admins []string
	// Metrics count what the registry does. Default: none.
	Metrics *promginsse.Metrics
	// SessionLifetime is how long a token is valid. Default: defaultSessionLifetime.
	SessionLifetime time.Duration
	// Stream configures the event streams. Default: the defaults of ginsse.
	Stream ginsse.StreamConfig
	// PasswordCost is the cost of one argon2id hash. Default: defaultPasswordCost.
	PasswordCost passwordCost
}

// describeDatabase names the database without its password.
func (cfg *appConfig) describeDatabase() string {
	if cfg.Postgres != "" {
		return describePostgres(cfg.Postgres)
	}
	return cfg.Database
}

// app is the application. Its handlers are methods, and its fields are what they share.
//
// Concurrency: all methods and fields may be used from several goroutines.
type app struct {
	http.Handler // the routes

	store     *store
	passwords *passwords
	sessions  *sessions
	log       eventLog // of the registry
	registry  *ginsse.Registry
	operators *debug.Page // at /debug/events
	signOuts  *signOuts
	logger    *slog.Logger
	demo      []string // names of the demo users; read-only after setUp
	admins    []string // IDs of the administrators; read-only after setUp
	stopping  atomic.Bool
}

// newApp opens the database and returns the application. The caller must close it. After an error
// newApp has closed cfg.Log.
func newApp(ctx context.Context, cfg appConfig) (*app, error) {
	a := &app{logger: cfg.Logger, log: cfg.Log, demo: []string{}}
	if err := a.setUp(ctx, cfg); err != nil {
		return nil, errors.Join(err, a.closeLogAndStore())
	}
	return a, nil
}

func (a *app) setUp(ctx context.Context, cfg appConfig) (err error) {
	if a.store, err = openStore(ctx, cfg.Database, cfg.Postgres); err != nil {
		return fmt.Errorf("opening the database %s: %w", cfg.describeDatabase(), err)
	}
	if a.log == nil {
		if a.log, err = a.store.openLog(ctx, cfg.Logger); err != nil {
			return fmt.Errorf("opening the event log in the database %s: %w", cfg.describeDatabase(), err)
		}
	}
	if a.passwords, err = newPasswords(cfg.PasswordCost); err != nil {
		return err
	}
	if a.sessions, err = newSessions(ctx, a.store, cfg); err != nil {
		return err
	}
	if cfg.Demo {
		if err := a.addDemoUsers(ctx); err != nil {
			return err
		}
	}
	for _, name := range cfg.Admins {
		admin, err := a.store.AccountNamed(ctx, name)
		if err != nil {
			return fmt.Errorf("administrator %q: %w", name, err)
		}
		a.admins = append(a.admins, admin.ID)
	}
	engine := gin.New()
	engine.RemoteIPHeaders = []string{"X-Forwarded-For"} // proxies do not overwrite other headers of the client
	if err := engine.SetTrustedProxies(cfg.Proxies); err != nil {
		return fmt.Errorf("proxies must be IP addresses or networks such as 10.0.0.0/8: %w", err)
	}
	a.operators = debug.NewPage(debug.Config{Logger: cfg.Logger})
	observers := []*ginsse.Observer{a.operators.Observer()}
	if cfg.Metrics != nil {
		observers = append(observers, cfg.Metrics.Observer())
	}
	a.registry, err = ginsse.NewRegistry(ginsse.RegistryConfig{
		Log: a.log, Stream: cfg.Stream, AllowTopicFunc: a.allowTopic, ConnectFunc: a.streamOpened, Logger: cfg.Logger,
		Observers: observers,
	})
	if err != nil {
		return err
	}
	a.store.sending = sending{a.registry, a.log, a.sendFailed}
	a.signOuts = newSignOuts(a.sessions.lifetime, func(ctx context.Context, userID string) error {
		_, err := a.registry.Disconnect(ctx, userID, ginsse.ReasonReauthenticate)
		return err
	})
	a.addRoutes(engine)
	a.Handler = engine
	return nil
}

// stop closes all streams, and ends the retries of sign-outs. From then on /readyz answers 503.
func (a *app) stop() {
	a.stopping.Store(true)
	a.signOuts.stop()
	a.registry.Close()
}

// Close closes all streams and the database. Shut down the server first: later requests
// fail.
func (a *app) Close() error {
	a.stop()
	a.signOuts.close()
	return a.closeLogAndStore()
}

func (a *app) closeLogAndStore() error {
	var err error
	if a.log != nil {
		err = a.log.Close()
	}
	if a.store != nil {
		err = errors.Join(err, a.store.Close())
	}
	return err
}

// readMethods are the methods of requests that only read.
var readMethods = []string{http.MethodGet, http.MethodHead}

// addRoutes adds all routes with their middleware.
func (a *app) addRoutes(r *gin.Engine) {
	r.RedirectTrailingSlash = false // /api/posts/ is a 404, and not a redirect
	r.Use(logRequests(a.logger), a.recoverPanics())
	r.NoRoute(noStore, func(c *gin.Context) { fail(c, errNoSuchRoute) })

	addPageRoutes(r)
	r.Match(readMethods, "/ginsse.js", browser.Handler())               // reads the stream in the page
	r.Match(readMethods, "/control.js", browser.ControlModuleHandler()) // changes its topics
	r.Match(readMethods, "/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	r.Match(readMethods, "/readyz", a.ready)

	// ginsse.Middleware verifies the token and sets the headers of a stream. requireSession
	// refuses tokens that were signed out. The second route changes the topics of an open stream.
	r.GET("/events", limitBody, ginsse.Middleware(a.sessions.auth), a.sessions.requireSession, a.events)
	r.POST("/events", noStore, refuseCrossSite(), limitBody, a.sessions.auth.RequireUser(), a.sessions.requireSession, a.registry.ControlHandler())

	public := r.Group("/api", noStore, refuseCrossSite(), limitBody)
	public.Match(readMethods, "/session", a.getSession)
	public.POST("/session", a.signIn)
	public.POST("/users", a.signUp)
	public.Match(readMethods, "/demo", a.getDemo)

	api := public.Group("", a.sessions.auth.RequireUser(), a.sessions.requireSession)
	get := func(path string, handler gin.HandlerFunc) { api.Match(readMethods, path, handler) }
	get("/me", a.me)
	api.DELETE("/session", a.signOut)

	get("/posts", a.listPosts)
	api.POST("/posts", a.addPost)
	get("/posts/:id", a.getPost)
	get("/posts/:id/comments", a.listComments)
	api.POST("/posts/:id/comments", a.addComment)
	api.POST("/posts/:id/typing", a.typing)
	api.POST("/posts/:id/reactions", a.addReaction)
	api.DELETE("/posts/:id/reactions/:kind", a.removeReaction)

	get("/notifications", a.listNotifications)
	api.POST("/notifications/read", a.readNotifications)

	a.operators.Mount(r.Group("/debug/events"), a.registry, limitBody, a.sessions.auth.RequireUser(), a.sessions.requireSession, a.requireAdmin)
	api.PUT("/maintenance", a.requireAdmin, a.announceMaintenance)
	api.DELETE("/maintenance", a.requireAdmin, a.endMaintenance)
}

// ready answers 200 if this process can serve requests, and 503 otherwise. A load balancer
// asks it before it sends requests here.
func (a *app) ready(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), time.Second)
	defer cancel()
	err := a.store.Ping(ctx)
	if err == nil {
		err = a.log.Ready()
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

// refuseCrossSite refuses requests that a page of another site makes. ginsse refuses them if
// they carry the session cookie. This also refuses them without a cookie: otherwise another
// site could sign a visitor in to an account of its own. Clients other than browsers send
// neither Sec-Fetch-Site nor Origin, and pass.
func refuseCrossSite() gin.HandlerFunc {
	protection := http.NewCrossOriginProtection()
	return func(c *gin.Context) {
		if err := protection.Check(c.Request); err != nil {
			fail(c, errCrossSite)
		}
	}
}

// noStore keeps responses, which are private to one user, out of caches. It also stops
// browsers from guessing a content type.
func noStore(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
}

// logRequests logs each request when it has ended. Of the URL it logs only the path, because
// a query may hold private data. For a stream that is when the stream ends.
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
			slog.String("path", truncate(c.Request.URL.Path)),
			slog.Int("status", c.Writer.Status()),
			slog.Duration("took", time.Since(start)),
		}
		if user := ginsse.UserID(c); user != "" {
			attrs = append(attrs, slog.String("user", user))
		}
		if len(c.Errors) > 0 {
			attrs = append(attrs, slog.String("errors", truncate(strings.Join(c.Errors.Errors(), "; "))))
		}
		logger.LogAttrs(c.Request.Context(), level, "request", attrs...)
	}
}

// truncate shortens a text that a client can make as long as it likes.
func truncate(text string) string {
	const maxBytes = 300
	if len(text) > maxBytes {
		return strings.ToValidUTF8(text[:maxBytes], "") + "…"
	}
	return text
}

// recoverPanics answers 500 if a handler panics. Unlike gin.Recovery it does not log the
// request's headers.
func (a *app) recoverPanics() gin.HandlerFunc {
	return gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, p any) {
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p) // tells net/http to drop the connection
		}
		a.logger.ErrorContext(c.Request.Context(), "panic", "panic", p, "stack", string(runtimedebug.Stack()))
		if c.Writer.Written() {
			panic(http.ErrAbortHandler) // a partial response must not look complete
		}
		fail(c, errInternal)
	})
}
