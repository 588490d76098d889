package compat_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/quic-go/quic-go/http3"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// serveHTTP3 serves an engine over QUIC on loopback. It returns the server's URL and a client.
func serveHTTP3(t *testing.T, engine *gin.Engine) (url string, client *http.Client) {
	t.Helper()
	issuer := httptest.NewTLSServer(nil) // only for its certificate
	issuer.Close()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	server := &http3.Server{Handler: engine, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: issuer.TLS.Certificates})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(conn) }()
	roots := x509.NewCertPool()
	roots.AddCert(issuer.Certificate())
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(func() {
		_ = transport.Close()
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serving: %v", err)
		}
		_ = conn.Close()
	})
	return "https://" + conn.LocalAddr().String(), &http.Client{Transport: transport}
}

func TestStreamWorksOverHTTP3(t *testing.T) {
	t.Parallel()
	ended := make(chan ginsse.Reason, 1)
	registry := newRegistry(t, ginsse.RegistryConfig{
		Stream:         ginsse.StreamConfig{WriteTimeout: streamWriteTimeout},
		DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) { ended <- reason },
	})
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(newAuth(t)), registry.Handler())
	url, client := serveHTTP3(t, engine)
	open := func() *ssetest.Stream {
		request := newRequest(t, http.MethodGet, url+"/events", map[string]string{"Authorization": as(t, "alice")})
		stream := ssetest.Connect(t, client, request)
		if stream.Response.ProtoMajor != 3 {
			t.Fatalf("the response came over %s", stream.Response.Proto)
		}
		stream.NextOf("sse.open")
		return stream
	}
	wantEnd := func(want ginsse.Reason) {
		t.Helper()
		select {
		case reason := <-ended:
			if reason != want {
				t.Errorf("the stream ended for %q, want %q", reason, want)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("the stream has not ended for %q", want)
		}
	}

	stream := open()
	for n := range 3 {
		receipt, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Data: n})
		if err != nil {
			t.Fatal(err)
		}
		if e := stream.NextOf("n"); e.LastEventID != receipt.ID || receipt.Streams != 1 {
			t.Errorf("got %+v, sent %+v", e, receipt)
		}
	}
	// The stream is idle for longer than the write deadline, which must not stay set.
	if e, err := stream.TryNext(streamWriteTimeout + 100*time.Millisecond); e.Type != "" || !registry.Online("alice") {
		t.Errorf("while nothing was sent: %+v, %v", e, err)
	}
	if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Data: 3}); err != nil {
		t.Fatal(err)
	}
	stream.NextOf("n")
	stream.Close()
	wantEnd(ginsse.ReasonClientGone)

	stream = open()
	_, _ = registry.Disconnect(t.Context(), "alice", "")
	if rest, err := stream.WaitEnd(); err != nil || len(rest) != 1 || rest[0].Type != "sse.close" {
		t.Errorf("at the end got %+v, %v", rest, err)
	}
	wantEnd(ginsse.ReasonDisconnected)
}

func TestStreamOfAStalledReaderIsClosedOverHTTP3(t *testing.T) {
	t.Parallel()
	ended := make(chan ginsse.Reason, 1)
	registry := newRegistry(t, ginsse.RegistryConfig{
		Stream:         ginsse.StreamConfig{WriteTimeout: streamWriteTimeout},
		DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) { ended <- reason },
	})
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(newAuth(t)), registry.Handler())
	url, client := serveHTTP3(t, engine)
	stall(t, client, url, registry)
	wantSlow(t, ended)
}
