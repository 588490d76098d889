package main

import (
	"context"
	"crypto/rand"
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

type config struct {
	Scripts  string                // folder of the scripts for the page; "" for none
	Keep     int                   // events of each subject in the log
	Registry ginsse.RegistryConfig // without a log
}

// server is the application at all of its addresses.
type server struct {
	cfg     config
	key     []byte // signs the tokens
	auth    *ginsse.Auth
	handler http.Handler
	sites   map[string]*site // by name; does not change
	streams streams

	mu       sync.Mutex // guards the fields below
	log      eventlog.Log
	registry *ginsse.Registry
	opened   uint64 // streams of earlier registries
}

func newServer(cfg config) (*server, error) {
	s := &server{cfg: cfg, key: make([]byte, 32)}
	_, _ = rand.Read(s.key) // never fails
	var err error
	if s.auth, err = ginsse.NewAuth(ginsse.AuthConfig{Key: s.key, Methods: []string{"HS256"}, Cookie: sessionCookie}); err != nil {
		return nil, err
	}
	if _, err = s.renewRegistry(true); err != nil {
		return nil, err
	}
	s.handler = s.holdStreams(s.routes())
	s.sites = map[string]*site{
		"http":      {handler: s.handler},
		"https":     {handler: s.handler},
		"upstream":  {handler: s.handler},
		controlSite: {handler: s.handler},
	}
	if s.sites["https"].certificate, err = newCertificate(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *server) routes() *gin.Engine {
	r := gin.New()
	r.GET("/", s.page)
	r.GET("/other", s.otherPage)
	r.GET("/:file", s.script)
	r.GET("/sign-in", s.signIn)
	r.GET("/sign-out", s.signOut)
	r.GET("/token", s.token)
	r.GET(eventsPath, s.refuse, ginsse.Middleware(s.auth), s.events)
	r.POST(controlPath, s.refuseControl, s.auth.RequireUser(), s.change)

	test := r.Group("/test")
	test.POST("/send", control(s.send))
	test.POST("/disconnect", control(s.disconnect))
	test.POST("/drop", control(s.drop))
	test.POST("/freeze", control(s.freeze))
	test.POST("/refuse", control(s.setRefusal))
	test.POST("/refuse-control", control(s.setControlRefusal))
	test.POST("/grant", control(s.grant))
	test.POST("/revoke", control(s.revoke))
	test.POST("/restart", control(s.restart))
	test.POST("/stop", control(s.stop))
	test.POST("/start", control(s.start))
	test.POST("/streams", control(s.listStreams))
	return r
}

func (s *server) current() *ginsse.Registry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.registry
}

// renewRegistry puts a new registry in the place of the current one, which it returns. The new one
// has the same log, unless newLog is set.
func (s *server) renewRegistry(newLog bool) (before *ginsse.Registry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	if newLog {
		if log, err = eventlog.NewMemoryLog(eventlog.MemoryLogConfig{EventsPerSubject: s.cfg.Keep, MaxBytes: 1 << 30}); err != nil {
			return nil, err
		}
	}
	cfg := s.cfg.Registry
	cfg.Log = log
	registry, err := ginsse.NewRegistry(cfg)
	if err != nil {
		return nil, err
	}
	if before = s.registry; before != nil {
		s.opened += before.Stats().Opened
	}
	s.log, s.registry = log, registry
	return before, nil
}

// totalOpened returns how many streams were opened since the start.
func (s *server) totalOpened() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened + s.registry.Stats().Opened
}

func (s *server) close() {
	s.current().Close()
	for _, site := range s.sites {
		site.stop()
	}
}

// controlSite is the name of the site that the test does not stop.
const controlSite = "control"

// site is the server at one address.
type site struct {
	handler     http.Handler
	certificate *certificate // for HTTPS; nil for HTTP

	mu      sync.Mutex // guards the fields below
	address string     // "" before the first start
	server  *http.Server
	conns   *connections
	stopped chan struct{} // closed when server has ended
}

// connKey is the context key of a request's connection.
type connKey struct{}

// start listens. After stop it listens at the same address again.
func (s *site) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		return nil
	}
	listener, err := listen(ctx, s.address)
	if err != nil {
		return err
	}
	s.address, s.conns = listener.Addr().String(), listener.conns
	server := &http.Server{
		Handler:           s.handler,
		ConnContext:       withConnection,
		ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog:          logger,
	}
	stopped := make(chan struct{})
	s.server, s.stopped = server, stopped
	go func() {
		defer close(stopped)
		if s.certificate != nil {
			server.TLSConfig = s.certificate.config()
			_ = server.ServeTLS(listener, "", "")
		} else {
			_ = server.Serve(listener)
		}
	}()
	return nil
}

// stop closes the listener and all connections. Clients that connect are refused by the system.
func (s *site) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return
	}
	_ = s.server.Close()
	<-s.stopped
	s.server = nil
}

// connections returns those since the last start.
func (s *site) connections() *connections {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

func (s *site) url() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.certificate != nil {
		return "https://" + s.address
	}
	return "http://" + s.address
}
