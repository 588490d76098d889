package servers

import (
	"net"
	"net/http"
	"time"
)

// listener sets the buffers of the sockets that it accepts.
type listener struct {
	net.Listener

	sendBuffer int
}

// listenOn has all contestants get their connections in the same way.
func (s Settings) listenOn(l net.Listener) net.Listener {
	if s.SendBuffer == 0 {
		return l
	}
	return listener{l, s.SendBuffer}
}

// Accept implements net.Listener. The connection is the listener's own, as net/http
// looks for what it can do.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		if err := tcp.SetWriteBuffer(l.sendBuffer); err != nil {
			_ = conn.Close() // the client has gone, or will see it
		}
	}
	return conn, nil
}

// serve serves a handler with net/http as an application would.
func serve(settings Settings, handler http.Handler) func(net.Listener) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	return func(l net.Listener) error { return server.Serve(settings.listenOn(l)) }
}

// aboutChannels begins what is disclosed of the libraries that [channels] serves.
const aboutChannels = "On net/http without gin, with a channel for each user and one for all, of which a stream reads one. "

// channels puts what a library does not bring in front of it: it verifies the
// token, and names the channel in the query parameter "stream".
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
