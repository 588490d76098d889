package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// isLoopback reports whether only this machine can reach an address.
func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// requireLocalHost refuses requests whose Host is a name of another machine, and gives them some advice.
//
// It stops DNS rebinding. A site can let its own name resolve to 127.0.0.1. For a browser, the
// pages of that site then have the same origin as this server, and can read its responses.
func requireLocalHost(next http.Handler, advice string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalHost(r.Host) {
			http.Error(w, fmt.Sprintf("This server accepts requests for localhost only, and this one is for %q. %s", truncate(r.Host), advice), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLocalHost reports whether a Host header is "localhost" or an IP address. An IP address
// cannot be rebound, because no DNS look-up is made for it.
func isLocalHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}
