package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/internal/freeport"
)

// These tests start real proxies in front of a server of the kit. A proxy that is not installed is
// skipped, unless PROXY_TESTS is "required".

const (
	beat     = 300 * time.Millisecond // often enough for every limit below
	calmBeat = time.Second            // without limits: on a busy machine a heartbeat may be late by as much
	slowBeat = 5 * time.Second        // longer than every limit below
	token    = "secret-token"
)

// newBackend serves the kit's streams at /events, for the token, and a page to sign in at /login.
// It allows pages of one origin (CORS).
func newBackend(t *testing.T, heartbeat time.Duration) (address string) {
	t.Helper()
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		if c.GetHeader("Authorization") != "Bearer "+token {
			return ginsse.Identity{}, ginsse.ErrNoUser
		}
		return ginsse.Identity{UserID: "alice"}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Stream: ginsse.StreamConfig{HeartbeatInterval: heartbeat}})
	if err != nil {
		t.Fatal(err)
	}
	cors := func(c *gin.Context) {
		if c.GetHeader("Origin") != page {
			return
		}
		c.Header("Access-Control-Allow-Origin", page)
		c.Header("Access-Control-Allow-Credentials", "true")
		c.Header("Vary", "Origin")
		if c.Request.Method == http.MethodOptions {
			c.Header("Access-Control-Allow-Headers", "Authorization, Last-Event-ID")
			c.AbortWithStatus(http.StatusNoContent)
		}
	}
	engine := gin.New()
	engine.OPTIONS("/events", cors)
	engine.GET("/events", cors, ginsse.Middleware(auth), registry.Handler())
	engine.GET("/login", func(c *gin.Context) { c.Data(http.StatusOK, "text/html", []byte("<form>")) })
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	t.Cleanup(registry.Close)
	return server.Listener.Addr().String()
}

// findProgram returns the path of a proxy.
func findProgram(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if path := "/usr/sbin/" + name; fileExists(path) { // not in the PATH of every user
		return path
	}
	if os.Getenv("PROXY_TESTS") == "required" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// startProxy starts a proxy in front of a server, with a configuration in which names in
// braces are replaced. It returns the address of the proxy.
func startProxy(t *testing.T, upstream string, program, file, configuration string, args ...string) string {
	t.Helper()
	path := findProgram(t, program)
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o755); err != nil { // Apache changes its user
		t.Fatal(err)
	}
	_, upstreamPort, _ := net.SplitHostPort(upstream)
	const attempts = 5 // another process may take the port before the proxy does
	for range attempts {
		address := freeAddress(t)
		_, port, _ := net.SplitHostPort(address)
		fill := strings.NewReplacer("{FOLDER}", folder, "{ADDRESS}", address, "{PORT}", port, "{UPSTREAM}", upstream, "{UPSTREAM_PORT}", upstreamPort)
		if err := os.WriteFile(filepath.Join(folder, file), []byte(fill.Replace(configuration)), 0o600); err != nil {
			t.Fatal(err)
		}
		filled := make([]string, len(args))
		for i, arg := range args {
			filled[i] = fill.Replace(arg)
		}
		if startProcess(t, folder, address, path, filled...) {
			return address
		}
	}
	t.Fatalf("%s does not start", program)
	return ""
}

// freeAddress returns an address of loopback that is free, each only once.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address.String()
}

// startProcess starts a proxy, and reports whether it passes a request on. The process ends with the test.
func startProcess(t *testing.T, folder, address, program string, args ...string) bool {
	t.Helper()
	var output bytes.Buffer
	command := exec.Command(program, args...)
	command.Dir = folder
	command.Env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+folder, "XDG_CONFIG_HOME="+folder)
	command.Stdout, command.Stderr = &output, &output
	command.WaitDelay = 5 * time.Second
	// A group of its own, with the processes that it starts.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
		}
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // what is left of the group
		<-ended
		if t.Failed() {
			t.Logf("%s wrote:\n%s", program, output.String())
		}
	})
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case <-ended:
			t.Logf("%s has ended:\n%s", program, output.String())
			return false
		case <-deadline:
			t.Fatalf("%s does not answer at %s", program, address)
		case <-ticker.C:
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://"+address+"/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Close = true
		request.Header.Set("Origin", page)
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusNoContent { // from the server
				return true
			}
		}
	}
}

// The configurations of docs/proxies.md, with room for settings.

func startNginx(t *testing.T, upstream, inHTTP, inLocation string) string {
	t.Helper()
	if !strings.Contains(inLocation, "proxy_http_version") {
		inLocation += "proxy_http_version 1.1;"
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // the folder is this user's
	}
	return startProxy(t, upstream, "nginx", "nginx.conf", user+`
daemon off;
worker_processes 1;
pid {FOLDER}/pid;
error_log {FOLDER}/error.log;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path {FOLDER}/body;
    proxy_temp_path {FOLDER}/proxy;
    fastcgi_temp_path {FOLDER}/fastcgi;
    uwsgi_temp_path {FOLDER}/uwsgi;
    scgi_temp_path {FOLDER}/scgi;
    `+inHTTP+`
    server {
        listen {ADDRESS};
        location / {
            proxy_pass http://{UPSTREAM};
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            `+inLocation+`
        }
    }
}
`, "-p", "{FOLDER}", "-e", "{FOLDER}/error.log", "-c", "{FOLDER}/nginx.conf")
}

func startHAProxy(t *testing.T, upstream string, inDefaults string) string {
	t.Helper()
	return startProxy(t, upstream, "haproxy", "haproxy.cfg", `
defaults
    mode http
    option abortonclose
    timeout connect 5s
    timeout client 60s
    `+inDefaults+`
frontend web
    bind {ADDRESS} tcp-ut 30s
    default_backend app
backend app
    server app1 {UPSTREAM}
`, "-db", "-f", "{FOLDER}/haproxy.cfg")
}

func startApache(t *testing.T, upstream string, settings string) string {
	t.Helper()
	modules := ""
	for _, name := range []string{"mpm_event", "authz_core", "filter", "deflate", "headers", "proxy", "proxy_http"} {
		modules += fmt.Sprintf("LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", name, name)
	}
	return startProxy(t, upstream, "apache2", "apache.conf", modules+`
ServerRoot {FOLDER}
ServerName localhost
DefaultRuntimeDir {FOLDER}
PidFile {FOLDER}/pid
ErrorLog {FOLDER}/error.log
User www-data
Group www-data
StartServers 1
ServerLimit 1
ThreadsPerChild 16
MaxRequestWorkers 16
Listen {ADDRESS}
ProxyPass / http://{UPSTREAM}/
`+settings, "-DFOREGROUND", "-f", "{FOLDER}/apache.conf")
}

func startVarnish(t *testing.T, upstream string, program string) string {
	t.Helper()
	return startProxy(t, upstream, "varnishd", "default.vcl", `vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "{UPSTREAM_PORT}"; }
`+program, "-F", "-j", "none", "-n", "{FOLDER}/work", "-s", "malloc,16m", "-p", "thread_pools=1", "-p", "thread_pool_min=5", "-a", "{ADDRESS}", "-f", "{FOLDER}/default.vcl")
}

func startCaddy(t *testing.T, upstream string, global, site, proxy string) string {
	t.Helper()
	return startProxy(t, upstream, "caddy", "Caddyfile", `{
	admin off
	auto_https off
	`+global+`
}
http://{ADDRESS} {
	`+site+`
	reverse_proxy {UPSTREAM} {
		lb_try_duration 10s
		`+proxy+`
	}
}
`, "run", "--adapter", "caddyfile", "--config", "{FOLDER}/Caddyfile")
}

// healthy is what the doctor finds behind each proxy with the settings of docs/proxies.md.
var healthy = []expect{
	{"response", "ok", "event stream", ""},
	{"buffering", "ok", "did not come in bursts", ""},
	{"compression", "ok", "none", ""},
	{"headers", "ok", "no-transform", ""},
	{"heartbeats", "ok", "at least every 1s", ""},
	{"end", "ok", "was open for", ""},
	{"resuming", "ok", "resumed after the last event ID", ""},
	{"HTTP version", "warning", "HTTP/1.1", "HTTP/2"},
	{"without the credential", "ok", "status 401", ""},
	{"CORS", "ok", "can read the stream", ""},
	{"CORS preflight", "ok", "", ""},
}

func TestDoctorBehindProxies(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes most of a minute, and has had its turn without -short")
	}
	for _, test := range []struct {
		name      string
		heartbeat time.Duration
		start     func(t *testing.T, upstream string) string
		want      []expect
	}{
		{"no_proxy", calmBeat, func(_ *testing.T, upstream string) string { return upstream }, healthy},

		{"nginx", calmBeat, func(t *testing.T, upstream string) string { return startNginx(t, upstream, "", "") },
			append([]expect{{"keep-alive", "ok", "", ""}}, healthy...)},
		{"nginx_behind_nginx", calmBeat, func(t *testing.T, upstream string) string {
			return startNginx(t, startNginx(t, upstream, "", ""), "", "")
		}, healthy},
		{"nginx_that_buffers_behind_nginx", beat, func(t *testing.T, upstream string) string {
			return startNginx(t, startNginx(t, upstream, "", ""), "", "proxy_http_version 1.0;")
		}, []expect{{"response", "fault", "but OPTIONS was answered after", "proxy_buffering off"}}},
		{"nginx_that_compresses", calmBeat, func(t *testing.T, upstream string) string {
			return startNginx(t, upstream, "gzip on; gzip_proxied any; gzip_types text/event-stream;", "")
		}, []expect{{"compression", "warning", "gzip", "out of gzip_types"}, {"buffering", "ok", "", ""}, {"heartbeats", "ok", "", ""}}},
		{"nginx_that_compresses_behind_nginx", beat, func(t *testing.T, upstream string) string {
			return startNginx(t, startNginx(t, upstream, "", ""), "gzip on; gzip_proxied any; gzip_types text/event-stream;", "")
		}, []expect{{"compression", "fault", "nothing came within", "out of gzip_types"}, {"response", "ok", "", ""}}},
		{"nginx_with_a_short_timeout", slowBeat, func(t *testing.T, upstream string) string {
			return startNginx(t, upstream, "", "proxy_read_timeout 1s;")
		}, []expect{{"end", "fault", "a limit on silence that is shorter than the heartbeat interval of 5s", "nginx: proxy_read_timeout"}}},
		{"nginx_that_shows_a_page_to_sign_in", beat, func(t *testing.T, upstream string) string {
			return startNginx(t, upstream, "", "proxy_intercept_errors on; error_page 401 =302 /login?token=secret;")
		}, []expect{{"without the credential", "fault", "does not learn that it is signed out", "nginx: no proxy_intercept_errors"}, {"response", "ok", "", ""}}},
		{"nginx_that_drops_the_last_event_id", beat, func(t *testing.T, upstream string) string {
			return startNginx(t, upstream, "", `proxy_set_header Last-Event-ID "";`)
		}, []expect{{"resuming", "fault", "did not get Last-Event-ID", "nginx: "}}},
		{"nginx_without_keep_alive", beat, func(t *testing.T, upstream string) string {
			return startNginx(t, upstream, "keepalive_timeout 0;", "")
		}, []expect{{"keep-alive", "warning", "closed", "nginx: keepalive_timeout"}}},

		{"haproxy", calmBeat, func(t *testing.T, upstream string) string {
			return startHAProxy(t, upstream, "timeout server 60s\noption http-no-delay")
		}, append([]expect{{"delay", "ok", "", ""}}, healthy...)},
		{"haproxy_that_delays", 3 * beat, func(t *testing.T, upstream string) string {
			return startHAProxy(t, upstream, "timeout server 60s")
		}, []expect{{"delay", "warning", "later than that of another response", "HAProxy: option http-no-delay"}}},
		{"haproxy_with_a_short_timeout", slowBeat, func(t *testing.T, upstream string) string {
			return startHAProxy(t, upstream, "timeout server 1s\noption http-no-delay")
		}, []expect{{"end", "fault", "a limit on silence", "HAProxy: timeout server"}}},
		{"haproxy_that_compresses", calmBeat, func(t *testing.T, upstream string) string {
			return startHAProxy(t, upstream, "timeout server 60s\noption http-no-delay\ncompression algo gzip\ncompression type text/event-stream")
		}, healthy}, // it heeds no-transform

		{"apache", calmBeat, func(t *testing.T, upstream string) string { return startApache(t, upstream, "") }, healthy},
		{"apache_that_compresses", calmBeat, func(t *testing.T, upstream string) string {
			return startApache(t, upstream, "SetOutputFilter DEFLATE\n")
		}, []expect{{"compression", "warning", "gzip", "Apache: AddOutputFilterByType"}, {"buffering", "ok", "", ""}}},
		{"apache_with_a_short_timeout", slowBeat, func(t *testing.T, upstream string) string {
			return startApache(t, upstream, "ProxyTimeout 1\n")
		}, []expect{{"end", "fault", "a limit on silence", "Apache: ProxyTimeout"}}},

		{"varnish", calmBeat, func(t *testing.T, upstream string) string {
			return startVarnish(t, upstream, `sub vcl_recv { if (req.url ~ "^/events") { return (pipe); } } sub vcl_pipe { set bereq.http.Connection = "close"; }`)
		}, append([]expect{{"keep-alive", "warning", "closed", ""}}, healthy...)}, // the requests of this path alone
		{"varnish_without_pipe", beat, func(t *testing.T, upstream string) string {
			return startVarnish(t, upstream, `sub vcl_recv { set sess.send_timeout = 1s; return (pass); }`)
		}, []expect{{"end", "fault", "no limit on silence, but one on the whole response", "Varnish: return (pipe)"}}},
		{"varnish_with_a_short_timeout", slowBeat, func(t *testing.T, upstream string) string {
			return startVarnish(t, upstream, `sub vcl_recv { return (pass); } sub vcl_backend_fetch { set bereq.between_bytes_timeout = 1s; }`)
		}, []expect{{"end", "fault", "a limit on silence", "Varnish: pipe_timeout"}}},

		{"caddy", calmBeat, func(t *testing.T, upstream string) string {
			return startCaddy(t, upstream, "", "encode gzip", "")
		}, healthy},
		{"caddy_with_a_short_timeout", slowBeat, func(t *testing.T, upstream string) string {
			return startCaddy(t, upstream, "", "", "transport http {\n read_timeout 1s\n }")
		}, []expect{{"end", "fault", "a limit on silence", "Caddy: no read_timeout"}}},
		{"caddy_with_a_limit_on_responses", beat, func(t *testing.T, upstream string) string {
			return startCaddy(t, upstream, "servers {\n timeouts {\n write 1s\n }\n }", "", "")
		}, []expect{{"end", "fault", "one on the whole response", "Caddy: no write timeout"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			upstream := newBackend(t, test.heartbeat)
			address := test.start(t, upstream)
			diagnose(t, "-for", "3s", "-token", token, "-origin", page, "http://"+address+"/events").verify(t, test.want...)
		})
	}
}
