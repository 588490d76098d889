package main

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// isLocal reports whether only this machine can reach an address.
func isLocal(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// onlyLocalNames refuses requests for another host's name. Any web page can have its own
// name lead to 127.0.0.1 (DNS rebinding), and would then be of the same origin as this
// server, which thinks that nobody but this machine can reach it.
func onlyLocalNames(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalName(r.Host) {
			http.Error(w, "This server is for this machine only. Behind a proxy that speaks HTTPS, start it with -secure.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLocalName reports whether a Host is "localhost", or an address, which no DNS has
// made of something else.
func isLocalName(host string) bool {
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
