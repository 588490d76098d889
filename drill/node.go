//go:build linux

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/debug"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/promginsse"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/sqllog"
)

// nodeVariable is set in the environment of a process that is a node: to its settings, as JSON.
const nodeVariable = "GINSSE_DRILL_NODE"

// nodeConfig holds the settings of a node, which is a process with a registry. The zero value has the
// kit's defaults, with times that are settings divided by [Speed].
type nodeConfig struct {
	Name    string `json:"name"`
	Address string `json:"address"` // where users reach it
	Metrics string `json:"metrics"` // where Prometheus and operators reach it

	Redis    string `json:"redis"`    // the URL of its log
	Postgres string `json:"postgres"` // the URL of its log; without both the log is in memory

	Transactions bool `json:"transactions"` // it sends in transactions of Postgres

	MaxStreams       int    `json:"maxStreams"`
	MaxFiles         uint64 `json:"maxFiles"`
	EventsPerSubject int    `json:"eventsPerSubject"` // of a log in memory
}

// runNode serves until the process gets SIGTERM. Then it ends its streams one after another.
func runNode(settings string) error {
	var cfg nodeConfig
	if err := json.Unmarshal([]byte(settings), &cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if cfg.MaxFiles > 0 {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: cfg.MaxFiles, Max: cfg.MaxFiles}); err != nil {
			return err
		}
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log, err := openLog(ctx, cfg, logger)
	if err != nil {
		return err
	}
	defer log.close()
	metrics, page := promginsse.New(), debug.NewPage(debug.Config{Name: cfg.Name, InsecureAllowEveryone: true})
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
		Log: log.Log,
		Stream: ginsse.StreamConfig{
			HeartbeatInterval: scaled(15 * time.Second),
			WriteTimeout:      scaled(30 * time.Second),
			ReconnectionTime:  scaled(3 * time.Second),
		},
		ShutdownWindow: scaled(5 * time.Second),
		MaxStreams:     cfg.MaxStreams,
		Observers:      []*ginsse.Observer{metrics.Observer(), page.Observer()},
		Logger:         logger,
	})
	if err != nil {
		return err
	}
	defer registry.Close()
	prometheus.MustRegister(metrics.Collector(registry))
	routes, err := nodeRoutes(registry, log)
	if err != nil {
		return err
	}
	operators := gin.New()
	operators.GET("/metrics", gin.WrapH(promhttp.Handler()))
	page.Mount(operators.Group("/debug/events"), registry)
	return serveNode(ctx, registry, map[string]http.Handler{cfg.Address: routes, cfg.Metrics: operators})
}

func serveNode(ctx context.Context, registry *ginsse.Registry, handlers map[string]http.Handler) error {
	failed := make(chan error, len(handlers))
	var servers []*http.Server
	for address, handler := range handlers {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: handler, ConnContext: connContext, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 32 << 10}
		servers = append(servers, server)
		go func() { failed <- server.Serve(listener) }()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := registry.Shutdown(ctx)
	for _, server := range servers {
		err = errors.Join(err, server.Shutdown(ctx))
	}
	return err
}

// sendBuffer bounds what the kernel holds for a client, in bytes. The kernel's own bound is 4 MB, which time
// would make larger here: at the same rate, it would take 20 times as long to fill.
const sendBuffer = 64 << 10

// connContext is that of the kit, on connections with a small buffer in the kernel.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // the connection may be closed already
	}
	return ginsse.ConnContext(ctx, conn)
}

// nodeRoutes has what users reach. The token of a request is the name of its user.
func nodeRoutes(registry *ginsse.Registry, log *nodeLog) (http.Handler, error) {
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		name, ok := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
		if !ok {
			return ginsse.Identity{}, errors.New("no token")
		}
		return ginsse.Identity{UserID: name}, nil
	})
	if err != nil {
		return nil, err
	}
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(auth), registry.Handler())
	engine.POST("/send/:user", func(c *gin.Context) { // the body is the data
		data, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, 1<<20))
		if err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(c.Request.Context(), time.Second)
		defer cancel()
		event := ginsse.Event{Type: "news", Data: data, Key: c.Query("key")}
		if err := log.send(ctx, registry, c.Param("user"), event); err != nil {
			c.String(http.StatusServiceUnavailable, "%v", err)
			return
		}
		c.Status(http.StatusNoContent)
	})
	return engine, nil
}

// everybody is who gets a broadcast, in place of a user.
const everybody = "all"

// nodeLog is the log of a node, and its database if it has one.
type nodeLog struct {
	eventlog.Log

	close func()
	db    *sql.DB // of sql; nil for another log
	sql   *sqllog.Log
}

// send sends an event to a user, or to all; in a transaction of the database if there is one.
func (l *nodeLog) send(ctx context.Context, registry *ginsse.Registry, user string, event ginsse.Event) error {
	if l.db == nil {
		if user == everybody {
			_, err := registry.Broadcast(ctx, event)
			return err
		}
		_, err := registry.SendTo(ctx, user, event)
		return err
	}
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	sender := registry.In(l.sql.Tx(tx))
	if user == everybody {
		err = sender.Broadcast(ctx, event)
	} else {
		err = sender.SendTo(ctx, user, event)
	}
	if err != nil {
		return err
	}
	return tx.Commit()
}

// openLog opens the log of a node. The caller must call its close.
func openLog(ctx context.Context, cfg nodeConfig, logger *slog.Logger) (*nodeLog, error) {
	switch {
	case cfg.Redis != "":
		options, err := redis.ParseURL(cfg.Redis)
		if err != nil {
			return nil, err
		}
		client := redis.NewClient(options)
		events, err := redislog.Open(ctx, client, redislog.Config{Logger: logger})
		if err != nil {
			return nil, errors.Join(err, client.Close())
		}
		return &nodeLog{Log: events, close: func() { _, _ = events.Close(), client.Close() }}, nil
	case cfg.Postgres != "":
		db, err := sql.Open("pgx", cfg.Postgres)
		if err != nil {
			return nil, err
		}
		events, err := sqllog.OpenPostgres(ctx, db, sqllog.Config{Logger: logger})
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		l := &nodeLog{Log: events, close: func() { _, _ = events.Close(), db.Close() }}
		if cfg.Transactions {
			l.db, l.sql = db, events
		}
		return l, nil
	default:
		events, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{EventsPerSubject: cfg.EventsPerSubject})
		if err != nil {
			return nil, fmt.Errorf("the log in memory: %w", err)
		}
		return &nodeLog{Log: events, close: func() {}}, nil
	}
}
