//go:build ignore

// A server for centrifuge-js. Build it in a module of its own: compare.mjs does.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves the pages of a folder, and keeps the last events of each channel. It sends a ping in
// each interval. It ends when standard input does.
func run(folder, keep, interval string) error {
	size, err := strconv.Atoi(keep)
	if err != nil {
		return err
	}
	pingInterval, err := time.ParseDuration(interval)
	if err != nil {
		return err
	}
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return err
	}
	var refuses atomic.Bool
	node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		user, expiry := parse(e.Token)
		if refuses.Load() {
			return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
		}
		return centrifuge.ConnectReply{
			Credentials:       &centrifuge.Credentials{UserID: user, ExpireAt: expiry},
			ClientSideRefresh: true,
		}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnRefresh(func(e centrifuge.RefreshEvent, done centrifuge.RefreshCallback) {
			_, expiry := parse(e.Token)
			done(centrifuge.RefreshReply{ExpireAt: expiry}, nil)
		})
		client.OnSubscribe(func(e centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{EnableRecovery: true}}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return err
	}
	ping := centrifuge.PingPongConfig{PingInterval: pingInterval, PongTimeout: pingInterval / 2}
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{PingPongConfig: ping}))
	http.Handle("/connection/sse", centrifuge.NewSSEHandler(node, centrifuge.SSEConfig{PingPongConfig: ping}))
	http.Handle("/emulation", centrifuge.NewEmulationHandler(node, centrifuge.EmulationConfig{}))
	http.Handle("/", http.FileServer(http.Dir(folder)))
	http.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s:%d", r.FormValue("user"), time.Now().Add(2*time.Second).Unix())
	})
	http.HandleFunc("/test/send", func(w http.ResponseWriter, r *http.Request) {
		var p struct {
			User         string
			Count, First int
		}
		_ = json.NewDecoder(r.Body).Decode(&p)
		for i := range p.Count {
			_, err := node.Publish(p.User, fmt.Appendf(nil, `{"n":%d}`, p.First+i), centrifuge.WithHistory(size, time.Hour))
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}
	})
	http.HandleFunc("/test/refuse", func(http.ResponseWriter, *http.Request) { refuses.Store(!refuses.Load()) })
	http.HandleFunc("/test/end", func(_ http.ResponseWriter, r *http.Request) {
		for _, client := range node.Hub().Connections() {
			client.Disconnect(centrifuge.DisconnectForceReconnect)
		}
	})
	http.HandleFunc("/test/connections", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, node.Hub().NumClients()) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(listener, nil)
}

// parse takes a token apart: a user, and the second in which it expires.
func parse(token string) (user string, expiry int64) {
	user, seconds, _ := strings.Cut(token, ":")
	expiry, _ = strconv.ParseInt(seconds, 10, 64)
	return user, expiry
}
