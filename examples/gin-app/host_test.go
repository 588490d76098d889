package main

import (
	"io"
	"net"
	"net/http"
	"testing"
)

func TestLocalHostsAndAddresses(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST.:8080": true, "app.localhost:1": true,
		"127.0.0.1": true, "127.0.0.1:8080": true, "[::1]:8080": true, "[::1]": true, "192.0.2.7:80": true,
		"evil.example": false, "evil.example:8080": false, "localhost.evil.example": false, "127.0.0.1.evil.example:8080": false, "": false,
	} {
		if got := isLocalHost(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	for addr, want := range map[string]bool{"127.0.0.1": true, "::1": true, "0.0.0.0": false, "::": false, "192.0.2.7": false} {
		if got := isLoopback(&net.TCPAddr{IP: net.ParseIP(addr)}); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// A site can let its name resolve to 127.0.0.1. A server on a loopback address refuses that name.
// Behind a proxy the name may be the server's own.
func TestLoopbackServerRefusesOtherHostNames(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		flags  []string
		status int
	}{
		"local":        {nil, http.StatusMisdirectedRequest},
		"behind_https": {[]string{"-secure"}, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			metrics := freeAddress(t)
			p := newProcess(t, "127.0.0.1:0", inMemory, append(test.flags, "-metrics", metrics)...)
			wantStatus(t, p.url, "evil.example", test.status)
			wantStatus(t, "http://"+metrics+"/metrics", "evil.example", http.StatusMisdirectedRequest)
			wantStatus(t, "http://"+metrics+"/metrics", "localhost:9100", http.StatusOK)
		})
	}
}

// wantStatus sends a request for a host.
func wantStatus(t *testing.T, url, host string, want int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != want {
		t.Errorf("%s for %s: status %d, %v", url, host, response.StatusCode, err)
	}
}
