package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
)

// openNodes joins the nodes at a NATS server. For [embedNATS] it runs one, for this
// machine only, with its data beside the database.
func openNodes(ctx context.Context, address, database string, logger *slog.Logger) (*nodes, error) {
	if database == inMemory {
		return nil, errors.New("-nats is for processes that share a database: name its file with -db")
	}
	n := &nodes{url: address}
	if kind, port, _ := strings.Cut(address, ":"); kind == embedNATS {
		if err := n.serve(port, filepath.Join(filepath.Dir(database), "nats")); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	if err := n.join(ctx, logger); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *nodes) join(ctx context.Context, logger *slog.Logger) (err error) {
	if n.conn, err = nats.Connect(n.url, nats.MaxReconnects(-1), nats.Name("gin-app")); err != nil {
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
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: number, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
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
