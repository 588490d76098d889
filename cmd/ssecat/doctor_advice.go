package main

import (
	"net/http"
	"slices"
	"strings"
)

// proxy is a kind of proxy whose settings the doctor knows.
type proxy int

const (
	anyone proxy = iota // the server, the page, or proxies of no known kind
	nginx
	haproxy
	apache
	varnish
	caddy
)

// proxyNames are the names in the output, in its order.
var proxyNames = [...]string{anyone: "", nginx: "nginx", haproxy: "HAProxy", apache: "Apache", varnish: "Varnish", caddy: "Caddy"}

// advice is what to do about a finding. It is for one kind of proxy, or for anyone.
type advice struct {
	proxy proxy
	text  string
}

// What to set for buffering: docs/proxies.md says more about each.
var (
	unbuffer = []advice{
		{nginx, "proxy_http_version 1.1; and proxy_buffering off; in each nginx on the way, since the one next to the server takes the header X-Accel-Buffering out"},
		{haproxy, "no option http-buffer-request, and option http-no-delay"},
		{apache, "no SetOutputFilter for the path; ProxyPass … flushpackets=on if another module collects the response"},
		{varnish, "return (pipe) in vcl_recv for the path; no beresp.do_stream = false"},
		{caddy, "flush_interval -1 in reverse_proxy"},
		{anyone, "in other proxies and CDNs: switch buffering of responses off for the path"},
	}
	uncompress = []advice{
		{nginx, "leave text/event-stream, and *, out of gzip_types and brotli_types"},
		{haproxy, "leave text/event-stream out of compression type"},
		{apache, "AddOutputFilterByType DEFLATE without text/event-stream instead of SetOutputFilter DEFLATE, or SetEnv no-gzip 1 for the path"},
		{varnish, "no beresp.do_gzip = true for the path"},
		{caddy, "leave text/event-stream out of the types that encode matches"},
		{anyone, "in the server: exclude the route from compression"},
	}
	undelay = []advice{
		{haproxy, "option http-no-delay; without it each block is about 200 ms late"},
		{anyone, "or does the server need the time, for the authentication or before it opens a stream?"},
	}

	extendSilence = []advice{
		{nginx, "proxy_read_timeout 60s;"},
		{haproxy, "timeout server 60s and timeout client 60s"},
		{apache, "ProxyTimeout 60, and Timeout 60"},
		{varnish, "pipe_timeout of 60 s with return (pipe); else between_bytes_timeout of 60 s"},
		{caddy, "no read_timeout in the transport of reverse_proxy, and no write timeout in servers"},
		{anyone, "in every other proxy and load balancer on the way: more than two heartbeat intervals"},
	}
	extendLife = []advice{
		{varnish, "return (pipe) in vcl_recv for the path, or set sess.send_timeout = 1d;"},
		{caddy, "no write timeout in servers { timeouts }"},
		{anyone, "Google Cloud: raise the timeout of the backend service to 86400 s"},
		{anyone, "a server in Go without the kit: no http.Server.WriteTimeout for the stream"},
	}
	keepOpen = []advice{
		{nginx, "keepalive_timeout 75s;"},
		{haproxy, "no option httpclose, and no option forceclose"},
		{apache, "KeepAlive On"},
		{varnish, "no resp.http.Connection = \"close\" in vcl_deliver"},
		{anyone, "let the proxy keep the connections of browsers open"},
	}
	useHTTP2 = []advice{
		{nginx, "listen 443 ssl http2; or, since 1.25.1, http2 on;"},
		{haproxy, "bind :443 ssl crt … alpn h2,http/1.1"},
		{apache, "Protocols h2 http/1.1, with mod_http2"},
		{varnish, "a TLS proxy with HTTP/2 in front of it, and -p feature=+http2"},
		{caddy, "a site with a host name, so that it serves HTTPS and with it HTTP/2"},
	}
	passLastEventID = []advice{
		{nginx, "no proxy_pass_request_headers off; and no proxy_set_header Last-Event-ID"},
		{haproxy, "no http-request del-header Last-Event-ID"},
		{apache, "no RequestHeader unset Last-Event-ID"},
		{varnish, "no unset req.http.Last-Event-ID"},
		{caddy, "no header_up -Last-Event-ID"},
		{anyone, "pass the request header Last-Event-ID to the server"},
	}
	refusePlainly = []advice{
		{nginx, "no proxy_intercept_errors with an error_page for 401 and 403 on the path"},
		{haproxy, "no http-request redirect for the path"},
		{apache, "no ProxyErrorOverride, and no ErrorDocument 401, for the path"},
		{anyone, "answer a stream without a valid credential with 401, not with a page to sign in"},
	}
	dontCache = []advice{
		{nginx, "proxy_cache off; for the path"},
		{haproxy, "no http-request cache-use for the path"},
		{apache, "CacheDisable for the path"},
		{varnish, "return (pipe) in vcl_recv for the path"},
		{anyone, "exclude the path from caches"},
	}
)

func inServer(text string) advice { return advice{anyone, text} }

// notice records which proxies a response names.
func (d *doctor) notice(header http.Header) {
	names := strings.ToLower(strings.Join(append(header.Values("Server"), header.Values("Via")...), " "))
	for name, kind := range map[string]proxy{
		"nginx": nginx, "openresty": nginx, "haproxy": haproxy, "apache": apache, "varnish": varnish, "caddy": caddy,
	} {
		if strings.Contains(names, name) {
			d.proxies[kind] = true
		}
	}
	if header.Get("X-Varnish") != "" {
		d.proxies[varnish] = true
	}
}

// choose returns the lines to print of a finding's advice. If responses name proxies for which there
// is some, it leaves out that for other proxies.
func (d *doctor) choose(all []advice) []string {
	named := false
	for _, a := range all {
		named = named || a.proxy != anyone && d.proxies[a.proxy]
	}
	var lines []string
	for _, a := range all {
		line := a.text
		if a.proxy != anyone {
			line = proxyNames[a.proxy] + ": " + a.text
		}
		if shown := a.proxy == anyone || !named || d.proxies[a.proxy]; shown && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return lines
}
