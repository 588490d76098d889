package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/natslog"
)

// nodes is an event log in NATS JetStream, for several processes of the application that share one
// database: an event sent by one process reaches the streams of all.
type nodes struct {
	*natslog.Log

	url    string // of the NATS server, for the other processes
	conn   *nats.Conn
	server *server.Server // nil if the NATS server is another process
}

const (
	embedNATS   = "embed" // or embed:PORT
	natsPort    = 4222
	natsTimeout = 10 * time.Second
	tokenFile   = "token" // in the data directory of the NATS server
)

// openNodes connects to the NATS server at an address. For [embedNATS] it starts a server in
// this process, which listens on 127.0.0.1 and keeps its data beside the database.
func openNodes(ctx context.Context, address, database string, logger *slog.Logger) (*nodes, error) {
	if database == inMemory {
		return nil, errors.New("-nats needs a database that other processes can open: choose a file with -db")
	}
	n := &nodes{url: address}
	dir := filepath.Join(filepath.Dir(database), "nats")
	if kind, port, _ := strings.Cut(address, ":"); kind == embedNATS {
		if err := n.startServer(port, dir); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	if err := n.connect(ctx, dir, logger); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *nodes) connect(ctx context.Context, dir string, logger *slog.Logger) (err error) {
	options := []nats.Option{nats.MaxReconnects(-1), nats.FlusherTimeout(2 * time.Second), nats.Name("gin-app")}
	if strings.HasPrefix(n.url, "nats://127.0.0.1:") || strings.HasPrefix(n.url, "nats://localhost:") { // an embedded server of another process requires the token
		if token, err := os.ReadFile(filepath.Join(dir, tokenFile)); err == nil {
			options = append(options, nats.Token(string(token)))
		}
	}
	if n.conn, err = nats.Connect(n.url, options...); err != nil {
		if at := new(url.Error); errors.As(err, &at) {
			err = errors.New("invalid URL") // err would show the URL with its password
		}
		return fmt.Errorf("connecting to the NATS server of -nats: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, natsTimeout)
	defer cancel()
	n.Log, err = natslog.Open(ctx, n.conn, natslog.Config{Stream: "GIN_APP", Prefix: "gin-app", Logger: logger})
	return err
}

// startServer starts a NATS server in this process.
func (n *nodes) startServer(port, dir string) error {
	number := natsPort
	if port != "" {
		var err error
		if number, err = strconv.Atoi(port); err != nil {
			return fmt.Errorf("-nats %s:%s: the port must be a number: %w", embedNATS, port, err)
		}
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	token, err := natsToken(dir)
	if err != nil {
		return fmt.Errorf("NATS server: %w", err)
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: number, Authorization: token,
		JetStream: true, StoreDir: dir, JetStreamMaxStore: 2 << 30, // bytes; natslog uses half of it
		NoSigs: true, NoLog: true,
	})
	if err != nil {
		return fmt.Errorf("NATS server: %w", err)
	}
	n.server = s
	s.Start()
	if !s.ReadyForConnections(natsTimeout) {
		return fmt.Errorf("the NATS server did not start on port %d; if another process runs one there, use -nats nats://127.0.0.1:%d", number, number)
	}
	n.url = s.ClientURL()
	return nil
}

// natsToken returns the token that the embedded NATS server requires from its clients. The
// first call creates it. Like the database, its file can be read by its owner only.
func natsToken(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	name := filepath.Join(dir, tokenFile)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		token, err := os.ReadFile(name)
		if err == nil && len(token) == 0 {
			err = fmt.Errorf("%s is empty: delete it and start again", name)
		}
		return string(token), err
	case err != nil:
		return "", err
	}
	token := rand.Text()
	_, err = f.WriteString(token)
	return token, errors.Join(err, f.Close())
}

// Close disconnects from the NATS server, and stops it if it runs in this process.
func (n *nodes) Close() error {
	var err error
	if n.Log != nil {
		err = n.Log.Close()
	}
	if n.conn != nil {
		n.conn.Close()
	}
	if n.server != nil {
		n.server.Shutdown()
		n.server.WaitForShutdown()
	}
	return err
}
