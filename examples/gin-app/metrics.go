package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/promginsse"
)

// metricsServer serves the metrics of the registry and of the process, for Prometheus. It has a port of
// its own, because they are not for users.
type metricsServer struct {
	addr   net.Addr // nil if it serves nothing
	server *http.Server
	ended  chan struct{} // closed when the server has ended
}

// serveMetrics serves nothing if the address is empty.
func serveMetrics(addr string, metrics *promginsse.Metrics, registry *ginsse.Registry, logger *slog.Logger) (*metricsServer, error) {
	if addr == "" {
		return new(metricsServer), nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w; choose another address with -metrics", err)
	}
	all := prometheus.NewRegistry()
	all.MustRegister(metrics.Collector(registry), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	errorLog := slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(all, promhttp.HandlerOpts{ErrorLog: errorLog}))
	var handler http.Handler = mux
	if isLoopback(listener.Addr()) {
		handler = requireLocalHost(mux, "To scrape it by another name, choose another address with -metrics.")
	}
	m := &metricsServer{addr: listener.Addr(), ended: make(chan struct{}), server: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          errorLog,
	}}
	go func() {
		defer close(m.ended)
		if err := m.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("serving metrics", "error", err)
		}
	}()
	return m, nil
}

// stop waits for a scrape in progress, for metricsTimeout at most.
func (m *metricsServer) stop() error {
	if m.server == nil {
		return nil
	}
	const metricsTimeout = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), metricsTimeout)
	defer cancel()
	err := m.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = m.server.Close()
	}
	<-m.ended
	return err
}
