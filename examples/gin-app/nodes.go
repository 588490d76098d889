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

// nodes is what the processes of the application share beside the database: the log of
// events, on NATS JetStream. What is sent at one reaches the streams of all.
type nodes struct {
	*natslog.Log

	url    string // for the others
	conn   *nats.Conn
	server *server.Server // nil unless it runs in this process
}

const (
	embedNATS    = "embed" // or embed:PORT
	natsPort     = 4222
	natsPatience = 10 * time.Second
	tokenFile    = "token" // in the server's directory
)

// openNodes joins the nodes at a NATS server. For [embedNATS] it runs one, for this
// machine only, with its data beside the database.
func openNodes(ctx context.Context, address, database string, logger *slog.Logger) (*nodes, error) {
	if database == inMemory {
		return nil, errors.New("-nats is for processes that share a database: name its file with -db")
	}
	n := &nodes{url: address}
	dir := filepath.Join(filepath.Dir(database), "nats")
	if kind, port, _ := strings.Cut(address, ":"); kind == embedNATS {
		if err := n.serve(port, dir); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	if err := n.join(ctx, dir, logger); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *nodes) join(ctx context.Context, dir string, logger *slog.Logger) (err error) {
	options := []nats.Option{nats.MaxReconnects(-1), nats.FlusherTimeout(2 * time.Second), nats.Name("gin-app")}
	if strings.HasPrefix(n.url, "nats://127.0.0.1:") || strings.HasPrefix(n.url, "nats://localhost:") { // another process of this application may run it
		if token, err := os.ReadFile(filepath.Join(dir, tokenFile)); err == nil {
			options = append(options, nats.Token(string(token)))
		}
	}
	if n.conn, err = nats.Connect(n.url, options...); err != nil {
		if at := new(url.Error); errors.As(err, &at) {
			err = errors.New("the URL is not valid") // whose text may have its password
		}
		return fmt.Errorf("connecting to NATS: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, natsPatience)
	defer cancel()
	n.Log, err = natslog.Open(ctx, n.conn, natslog.Config{Stream: "GIN_APP", Prefix: "gin-app", Logger: logger})
	return err
}

// serve runs a NATS server in this process.
func (n *nodes) serve(port, dir string) error {
	number := natsPort
	if port != "" {
		var err error
		if number, err = strconv.Atoi(port); err != nil {
			return fmt.Errorf("-nats %s:%s: %w", embedNATS, port, err)
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
		JetStream: true, StoreDir: dir, JetStreamMaxStore: 2 << 30, // the stream may take half
		NoSigs: true, NoLog: true,
	})
	if err != nil {
		return fmt.Errorf("NATS server: %w", err)
	}
	n.server = s
	s.Start()
	if !s.ReadyForConnections(natsPatience) {
		return fmt.Errorf("the NATS server at port %d does not start: is there one already? Join it with -nats nats://127.0.0.1:%d", number, number)
	}
	n.url = s.ClientURL()
	return nil
}

// natsToken returns what a process shows to the NATS server in another, and makes it up
// the first time. Only who may read the database may read its file.
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
			err = fmt.Errorf("%s is empty: delete it", name)
		}
		return string(token), err
	case err != nil:
		return "", err
	}
	token := rand.Text()
	_, err = f.WriteString(token)
	return token, errors.Join(err, f.Close())
}

// Close leaves the nodes, and ends the NATS server if it is this process's.
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
