package natslog_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

// The subjects that a node may publish to, and those of a node that creates the stream.
var (
	nodeMay = []string{
		"ginsse.all", "ginsse.all.*", "ginsse.user.>", "ginsse.topic.>", "ginsse.command.>", "ginsse.revoke.>", "ginsse.run.>", // events
		"ginsse.nodes", "ginsse.node.*", // messages between nodes
		"$JS.API.STREAM.INFO.GINSSE",
		"$JS.API.STREAM.MSG.GET.GINSSE",
		"$JS.API.DIRECT.GET.GINSSE", // for batches; without it events are read one by one
		"$JS.API.CONSUMER.CREATE.GINSSE.*",
		"$JS.API.CONSUMER.MSG.NEXT.GINSSE.*",
		"$JS.API.CONSUMER.DELETE.GINSSE.*",
		"$JS.API.CONSUMER.INFO.GINSSE.*", // asked by the client when it has reconnected
	}
	creatorMay = append(slices.Clone(nodeMay), "$JS.API.STREAM.CREATE.GINSSE")
)

// newGuardedServer returns a server that requires TLS and lets the user "node" publish to these
// subjects, with the options of an operator's connection and of the node's.
func newGuardedServer(t *testing.T, may []string) (s *server.Server, operator, node []nats.Option) {
	t.Helper()
	certificate, pool := newCertificate(t)
	s = embed(t, &server.Options{
		Port: server.RANDOM_PORT, StoreDir: t.TempDir(),
		TLS: true, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		TLSTimeout: patience.Seconds(),
		Users: []*server.User{
			{Username: "operator", Password: "o"},
			{Username: "node", Password: "n", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: may},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", "ginsse.nodes", "ginsse.node.*"}},
			}},
		},
	})
	secure := nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
	silent := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	return s, []nats.Option{secure, nats.UserInfo("operator", "o")}, []nats.Option{secure, silent, nats.UserInfo("node", "n")}
}

// newCertificate returns a certificate for the loopback and the pool of its authority.
func newCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	issue := func(serial int64, of, by *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		of.SerialNumber, of.NotBefore, of.NotAfter = big.NewInt(serial), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, of, by, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	authority := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, signer := issue(1, authority, authority, nil)
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, key := issue(2, leaf, root, signer)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestNodeNeedsFewPermissions has nodes do everything over TLS with the permissions of doc.go:
// create the stream, append, read from memory and from the broker, lose the connection, close.
func TestNodeNeedsFewPermissions(t *testing.T) {
	t.Parallel()
	s, _, options := newGuardedServer(t, creatorMay)
	forbidden := make(chan error, 100) // more than there can be
	options = append(options, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			forbidden <- err
		}
	}))
	p := newProxy(t, s.Addr().String())
	address := "tls" + strings.TrimPrefix(p.url(), "nats")
	cfg := natslog.Config{RecentBytes: 1} // so that only the newest event is in memory
	here, there := open(t, connect(t, address, options...), cfg), open(t, connect(t, address, options...), cfg)
	r := newReader(t, there, alice, all)
	for n := 1; n <= 3; n++ {
		add(t, here, alice, n)
	}
	add(t, here, "topic:x", 0)
	r.want(t, 1, 2, 3)
	for subject := range strings.FieldsSeq("all user:alice topic:x command:x revoke:x run:x") {
		addKeyed(t, here, subject, "k", 4)
	}
	r.want(t, 4, 4)
	latest := eventlog.Query{Subjects: r.subjects, After: startOf(t, there), MaxEntries: 10, MaxBytes: 1 << 20, Latest: true}
	if got := readPages(t, there, latest); len(got) != 2 {
		t.Errorf("the newest of each key are %v", got)
	}
	p.DropAll()
	add(t, here, all, 4)
	r.want(t, 4)
	messages := make(chan string, 1000)
	defer there.Receive("there", func(message []byte) { messages <- string(message) })()
	for _, to := range []string{"", "there"} {
		until(t, "a message", func() bool { // messages are lost until the subscription exists
			if err := here.Post(to, []byte(to)); err != nil && !errors.Is(err, eventlog.ErrUnavailable) {
				t.Fatal(err)
			}
			select {
			case message := <-messages:
				return message == to
			default:
				return false
			}
		})
	}
	if err := here.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-forbidden:
		t.Error(err)
	default:
	}
}

// TestOpenSaysWhichPermissionIsMissing removes one permission at a time.
func TestOpenSaysWhichPermissionIsMissing(t *testing.T) {
	t.Parallel()
	for i, subject := range creatorMay {
		if !strings.HasPrefix(subject, "$JS") || strings.Contains(subject, "DELETE") || strings.Contains(subject, "CONSUMER.INFO") ||
			strings.Contains(subject, "DIRECT.GET") {
			continue // Open works without it
		}
		t.Run(subject, func(t *testing.T) {
			t.Parallel()
			s, operator, node := newGuardedServer(t, slices.Delete(slices.Clone(creatorMay), i, i+1))
			address := "tls://" + s.Addr().String()
			if !strings.Contains(subject, "STREAM.CREATE") { // the stream exists, with older events
				nc := connect(t, address, operator...)
				log := open(t, nc, natslog.Config{})
				add(t, log, alice, 1)
				add(t, log, alice, 2)
				log.Close()
				stream, err := jet(t, nc).Stream(t.Context(), "GINSSE")
				if err != nil {
					t.Fatal(err)
				}
				if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(2)); err != nil {
					t.Fatal(err)
				}
			}
			err := openForbidden(t, connect(t, address, node...))
			named := strings.ToLower(strings.TrimSuffix(subject, "*"))
			if !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(strings.ToLower(err.Error()), named) {
				t.Errorf("error is %v", err)
			}
			t.Log(err)
		})
	}
}

// openForbidden opens a log without a permission that it needs, and returns the error. If a busy machine has
// not got as far as to be refused in time, openForbidden gives the log more.
func openForbidden(t *testing.T, nc *nats.Conn) (err error) {
	t.Helper()
	for timeout := 2 * time.Second; timeout <= patience; timeout *= 3 {
		var log *natslog.Log
		if log, err = natslog.Open(t.Context(), nc, natslog.Config{AppendTimeout: timeout}); err == nil {
			log.Close()
		}
		if errors.Is(err, nats.ErrPermissionViolation) {
			break
		}
	}
	return err
}

// TestUpgradeNeedsAPermission opens a stream of v0.1.0.
func TestUpgradeNeedsAPermission(t *testing.T) {
	t.Parallel()
	const update = "$JS.API.STREAM.UPDATE.GINSSE"
	for name, may := range map[string][]string{"missing": nodeMay, "given": append(slices.Clone(nodeMay), update)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, operator, node := newGuardedServer(t, may)
			address := "tls://" + s.Addr().String()
			createFirstVersion(t, jet(t, connect(t, address, operator...)), 1)
			nc := connect(t, address, node...)
			if name == "given" {
				open(t, nc, natslog.Config{})
				return
			}
			err := openForbidden(t, nc)
			if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(update)) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// TestDomainIsThatOfTheStream connects a node to a leaf server that has a JetStream of its own. The
// node uses that of the hub.
func TestDomainIsThatOfTheStream(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	hub := embed(t, &server.Options{
		Port: server.RANDOM_PORT, StoreDir: t.TempDir(), ServerName: "hub", JetStreamDomain: "hub",
		LeafNode: server.LeafNodeOpts{Host: "127.0.0.1", Port: port},
	})
	leaf := embed(t, &server.Options{
		Port: server.RANDOM_PORT, StoreDir: t.TempDir(), ServerName: "leaf", JetStreamDomain: "leaf",
		LeafNode: server.LeafNodeOpts{
			Remotes: []*server.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", port)}}}},
		},
	})
	until(t, "the leaf on the hub", func() bool { return leaf.NumLeafNodes() == 1 && hub.NumLeafNodes() == 1 })
	there := open(t, connect(t, hub.ClientURL()), natslog.Config{})
	here := open(t, connect(t, leaf.ClientURL()), natslog.Config{Domain: "hub", RecentBytes: 1})
	r := newReader(t, here, alice)
	for n := 1; n <= 3; n++ {
		add(t, there, alice, n)
	}
	add(t, here, alice, 4)
	r.want(t, 1, 2, 3, 4)
	if _, err := jet(t, connect(t, leaf.ClientURL())).Stream(t.Context(), "GINSSE"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the leaf has a stream, error %v", err)
	}
}
