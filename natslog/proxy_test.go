package natslog_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/internal/nodetest"
)

// proxy is between a node and its server, or between two servers.
type proxy struct{ *nodetest.Proxy }

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	return &proxy{nodetest.NewProxy(t, server)}
}

func (p *proxy) url() string { return "nats://" + p.Address() }

// connect connects through the proxy, and reconnects only through it.
func (p *proxy) connect(t *testing.T) *nats.Conn {
	t.Helper()
	return connect(t, p.url(), nats.IgnoreDiscoveredServers())
}
