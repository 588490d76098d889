package servers

import (
	"context"

	"github.com/gin-gonic/gin"
	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

const kitAbout = "On gin, with its defaults. Events have IDs. The history in memory keeps 4,096 events of each user and of broadcasts, " +
	"for 1 h and within 64 MiB. Every stream reads from it. A heartbeat is an event with an ID, after 11 to 15 s of silence. The write " +
	"deadline of 30 s starts again with each byte that the client takes. The sender waits for no stream, but pauses for moments when " +
	"streams lag far behind. A stream that lags behind the history gets an event that announces the gap."

// Compact is the name of the kit with compact streams.
const Compact = "ginsse compact"

const compactAbout = "The kit with StreamConfig.Compact: once a stream is open, it takes the connection over from net/http. The rest is the same. " +
	kitAbout

const kitModule = "github.com/ginsse/ginsse"

// newKit returns the kit with its defaults.
func newKit(settings Settings) (Server, error) { return newRegistry(settings, ginsse.StreamConfig{}) }

// newCompact returns the kit with compact streams.
func newCompact(settings Settings) (Server, error) {
	return newRegistry(settings, ginsse.StreamConfig{Compact: true})
}

func newRegistry(settings Settings, stream ginsse.StreamConfig) (Server, error) {
	gin.SetMode(gin.ReleaseMode)
	cfg := ginsse.RegistryConfig{Stream: stream}
	cfg.Stream.HeartbeatInterval = settings.Heartbeat // the kit spreads heartbeats itself
	cfg.Stream.WriteTimeout = settings.WriteTimeout
	if settings.Silent {
		cfg.Stream.HeartbeatInterval = -1
	}
	log, err := openLog(settings)
	if err != nil {
		return Server{}, err
	}
	cfg.Log = log
	registry, err := ginsse.NewRegistry(cfg)
	if err != nil {
		return Server{}, err
	}
	auth, err := ginsse.NewAuth(ginsse.AuthConfig{Methods: []string{"HS256"}, Key: Secret})
	if err != nil {
		return Server{}, err
	}
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(auth), registry.Handler())
	ctx := context.Background()
	return Server{
		Serve: serve(settings, engine),
		SendTo: func(user string, data []byte) error {
			_, err := registry.SendTo(ctx, user, ginsse.Event{Data: data})
			return err
		},
		Broadcast: func(data []byte) error {
			_, err := registry.Broadcast(ctx, ginsse.Event{Data: data})
			return err
		},
	}, nil
}

// openLog returns a log in memory, or one that is shared with other nodes.
func openLog(settings Settings) (eventlog.Log, error) {
	if settings.Broker == "" {
		return eventlog.NewMemoryLog(eventlog.MemoryLogConfig{MaxBytes: int64(settings.LogBytes)})
	}
	nc, err := nats.Connect(settings.Broker, nats.MaxReconnects(-1))
	if err != nil {
		return nil, err
	}
	return natslog.Open(context.Background(), nc, natslog.Config{Replicas: settings.Replicas, RecentBytes: settings.LogBytes})
}
