package sqllog_test

import (
	"net/url"
	"testing"

	"github.com/ginsse/ginsse/internal/nodetest"
)

// proxy is between a node and its server.
type proxy struct{ *nodetest.Proxy }

// newProxy returns a proxy to the server of an address.
func newProxy(t testing.TB, address string) *proxy {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return &proxy{nodetest.NewProxy(t, u.Host)}
}

// through returns an address with the proxy as its server.
func (p *proxy) through(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	u.Host = p.Address()
	return u.String()
}
