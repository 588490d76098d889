//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// redisServer is a Redis with an append-only file, and a password: other users of the machine reach it.
type redisServer struct {
	address, password, dir string
	run                    *process
}

// url returns the address with the password.
func (r *redisServer) url() string { return "redis://:" + r.password + "@" + r.address }

func (s *scene) startRedis(ctx context.Context) (*redisServer, error) {
	r := &redisServer{password: rand.Text(), dir: filepath.Join(s.dir, "redis")}
	var err error
	if r.address, err = freeAddress(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return nil, err
	}
	s.atEnd(func() {
		if r.run != nil {
			r.run.kill()
		}
	})
	return r, r.start(ctx)
}

func (r *redisServer) start(ctx context.Context) error {
	host, port, err := net.SplitHostPort(r.address)
	if err != nil {
		return err
	}
	//nolint:gosec,noctx // kill ends it
	cmd := exec.Command("redis-server", "-", "--bind", host, "--port", port, "--dir", r.dir, "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction")
	cmd.Stdin = strings.NewReader("requirepass " + r.password) // everybody can see arguments
	if r.run, err = startProcess(filepath.Dir(r.dir), "redis", cmd); err != nil {
		return err
	}
	return r.run.await(ctx, dials(r.address))
}

// postgresServer is a PostgreSQL server, or a standby of one. It has a password: other users of the machine
// reach it, and a user who is let in can run programs.
type postgresServer struct {
	name, bin, dir, port, password string
	run                            *process
}

// startPostgres starts a server; a standby if primary is not nil.
func (s *scene) startPostgres(ctx context.Context, name string, primary *postgresServer) (*postgresServer, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("there is no PostgreSQL: %w", exec.ErrNotFound)
	}
	folder, err := os.MkdirTemp("", "drill") // the server's user cannot enter that of the scene
	if err != nil {
		return nil, err
	}
	p := &postgresServer{name: name, bin: found[len(found)-1], dir: filepath.Join(folder, "data"), password: rand.Text()}
	s.atEnd(func() {
		if p.run != nil {
			_ = p.run.stop(syscall.SIGQUIT)
		}
		_ = os.RemoveAll(folder)
	})
	passwordFile := filepath.Join(folder, "password")
	if err := os.WriteFile(passwordFile, []byte(p.password), 0o600); err != nil {
		return nil, err
	}
	if err := giveToPostgres(folder, passwordFile); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, p.port, _ = net.SplitHostPort(address)
	if primary == nil {
		err = p.command(ctx, "initdb", "-D", p.dir, "-A", "scram-sha-256", "--pwfile", passwordFile, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N")
	} else {
		p.password = primary.password // it is in the database
		err = p.command(ctx, "pg_basebackup", "-D", p.dir, "-h", "127.0.0.1", "-p", primary.port, "-U", "postgres", "-R", "-X", "stream", "-c", "fast", "-N")
	}
	if err != nil {
		return nil, err
	}
	return p, p.start(ctx, s.dir)
}

func (p *postgresServer) start(ctx context.Context, logs string) error {
	//nolint:gosec,noctx // stop ends it
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), "-D", p.dir, "-p", p.port, "-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off")
	if err := asPostgres(cmd); err != nil {
		return err
	}
	var err error
	if p.run, err = startProcess(logs, p.name, cmd); err != nil {
		return err
	}
	return p.run.await(ctx, func(ctx context.Context) error { return p.query(ctx, "select true") })
}

func (p *postgresServer) url() string {
	return "postgres://postgres:" + p.password + "@127.0.0.1:" + p.port + "/postgres?sslmode=disable"
}

// stop ends the server at once. What was committed is not lost.
func (p *postgresServer) stop() error { return p.run.stop(syscall.SIGQUIT) }

// query runs a query that must return true.
func (p *postgresServer) query(ctx context.Context, query string) error {
	db, err := sql.Open("pgx", p.url())
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // it is of this query
	var ok bool
	if err := db.QueryRowContext(ctx, query).Scan(&ok); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%s is false", query)
	}
	return nil
}

func (p *postgresServer) command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...) //nolint:gosec // of PostgreSQL
	cmd.Env = append(os.Environ(), "PGPASSWORD="+p.password)
	if err := asPostgres(cmd); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// healthy are the settings of a proxy that does not harm streams.
const healthy = "proxy_http_version 1.1; proxy_read_timeout 1h;"

// nginxServer is a proxy in front of a node.
type nginxServer struct {
	address, upstream, dir string
	run                    *process
}

// startNginx starts nginx with settings in its location.
func (s *scene) startNginx(ctx context.Context, upstream, settings string) (*nginxServer, error) {
	p := &nginxServer{upstream: upstream, dir: filepath.Join(s.dir, "nginx")}
	var err error
	if p.address, err = freeAddress(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, err
	}
	if err := p.configure(settings); err != nil {
		return nil, err
	}
	program := "nginx"
	if _, err := exec.LookPath(program); err != nil {
		program = "/usr/sbin/nginx" // Debian's, which is not in the PATH of all users
	}
	//nolint:gosec,noctx // stop ends it
	cmd := exec.Command(program, "-p", p.dir, "-e", filepath.Join(p.dir, "error.log"), "-c", filepath.Join(p.dir, "nginx.conf"))
	if p.run, err = startProcess(s.dir, "nginx", cmd); err != nil {
		return nil, err
	}
	s.atEnd(func() { _ = p.run.stop(syscall.SIGTERM) })
	return p, p.run.await(ctx, dials(p.address))
}

// configure writes the configuration.
func (p *nginxServer) configure(settings string) error {
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // the folder is this user's
	}
	text := strings.NewReplacer("{USER}", user, "{DIR}", p.dir, "{ADDRESS}", p.address, "{UPSTREAM}", p.upstream, "{SETTINGS}", settings).Replace(`{USER}
daemon off;
worker_processes 1;
worker_shutdown_timeout 1s;
pid {DIR}/pid;
error_log {DIR}/error.log;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path {DIR}/body;
    proxy_temp_path {DIR}/proxy;
    fastcgi_temp_path {DIR}/fastcgi;
    uwsgi_temp_path {DIR}/uwsgi;
    scgi_temp_path {DIR}/scgi;
    server {
        listen {ADDRESS};
        location / {
            proxy_pass http://{UPSTREAM};
            proxy_set_header Connection "";
            {SETTINGS}
        }
    }
}
`)
	return os.WriteFile(filepath.Join(p.dir, "nginx.conf"), []byte(text), 0o600)
}

// reload has the proxy use other settings. Connections of before are cut after a second.
func (p *nginxServer) reload(settings string) error {
	if err := p.configure(settings); err != nil {
		return err
	}
	return p.run.cmd.Process.Signal(syscall.SIGHUP)
}
