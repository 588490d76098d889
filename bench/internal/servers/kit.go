package servers

import (
	"context"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// newKit is the kit with its defaults.
func newKit(settings Settings) (Server, error) {
	gin.SetMode(gin.ReleaseMode)
	cfg := ginsse.RegistryConfig{}
	if settings.Silent {
		cfg.Stream.HeartbeatInterval = -1
	}
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
		Serve: serve(engine),
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
