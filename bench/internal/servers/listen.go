package servers

import (
	"net"
	"net/http"
	"time"
)

// listener sets the send buffer of the sockets that it accepts.
type listener struct {
	net.Listener

	sendBuffer int
}

// listenOn applies the settings to a listener, the same for all contestants.
func (s Settings) listenOn(l net.Listener) net.Listener {
	if s.SendBuffer == 0 {
		return l
	}
	return listener{l, s.SendBuffer}
}

// Accept implements net.Listener. It does not wrap the connection, because net/http checks
// which methods it has.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		if err := tcp.SetWriteBuffer(l.sendBuffer); err != nil {
			_ = conn.Close() // the client has disconnected, or notices
		}
	}
	return conn, nil
}

// serve returns a function that serves a handler with net/http, as an application would.
func serve(settings Settings, handler http.Handler) func(net.Listener) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	return func(l net.Listener) error { return server.Serve(settings.listenOn(l)) }
}

// aboutChannels is the beginning of what libraries disclose that use [channels].
const aboutChannels = "On net/http without gin, with a channel for each user and one for broadcasts. A stream reads one channel. "

// channels serves a library, with what the library lacks: it verifies the token, and sets
// the query parameter "stream" to the name of the channel.
func channels(settings Settings, next http.Handler) func(net.Listener) error {
	return serve(settings, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := userOf(r.Header.Get("Authorization"))
		if err != nil {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		if "?"+r.URL.RawQuery == AllQuery {
			user = channelAll
		}
		r.URL.RawQuery = "stream=" + user
		next.ServeHTTP(w, r)
	}))
}
