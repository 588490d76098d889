package nodetest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// ServeNode has this process be a node of an application, on a port of loopback. It writes the
// node's address to standard output and returns.
//
// The routes function may add routes to the application; it may be nil. With the environment
// variable GINSSE_TEST_COMPACT the node's streams are compact.
func ServeNode(log eventlog.SharedLog, routes func(r *gin.Engine, registry *ginsse.Registry)) error {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
		Log: log,
		Stream: ginsse.StreamConfig{
			HeartbeatInterval: 250 * time.Millisecond, ReconnectionTime: 50 * time.Millisecond,
			Compact: os.Getenv("GINSSE_TEST_COMPACT") != "",
		},
		AllowTopicFunc: mayRead, TopicParameter: "room",
		MaxOpensPerMinute: -1,
	})
	if err != nil {
		return err
	}
	engine, err := newEngine(registry)
	if err != nil {
		return err
	}
	if routes != nil {
		routes(engine, registry)
	}
	listener, err := listen(context.Background())
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: engine, ReadHeaderTimeout: 2 * Patience}
	go func() { panic(server.Serve(listener)) }()
	return nil
}

func listen(ctx context.Context) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
}

// newEngine returns the application. It has no Recovery, so that a panic fails the test.
func newEngine(registry *ginsse.Registry) (*gin.Engine, error) {
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	if err != nil {
		return nil, err
	}
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), func(c *gin.Context) {
		_ = registry.Serve(c, ginsse.WithTopics(c.QueryArray("topic")...))
	})
	// The subject is as the log has it. The answer is the event's id, once it is acknowledged.
	r.POST("/send/:subject", func(c *gin.Context) {
		ctx := c.Request.Context()
		e := ginsse.Event{Type: c.Query("type"), Data: c.Query("n"), Key: c.Query("key"), Transient: c.Query("transient") != ""}
		var receipt ginsse.Receipt
		var err error
		switch kind, name, _ := strings.Cut(c.Param("subject"), ":"); eventlog.Kind(kind) {
		case eventlog.KindUser:
			receipt, err = registry.SendTo(ctx, name, e)
		case eventlog.KindTopic:
			receipt, err = registry.Publish(ctx, name, e)
		default:
			receipt, err = registry.Broadcast(ctx, e)
		}
		if err != nil {
			c.String(http.StatusServiceUnavailable, "%v", err)
			return
		}
		c.String(http.StatusOK, "%s", receipt.ID)
	})
	r.DELETE("/streams/:user", func(c *gin.Context) {
		if _, err := registry.Disconnect(c.Request.Context(), c.Param("user"), signedOut); err != nil {
			c.String(http.StatusServiceUnavailable, "%v", err)
		}
	})
	addTopicRoutes(r, registry, auth)
	return r, nil
}

// signedOut is the reason of a disconnect.
const signedOut = "signed out"
