//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Other users of the machine reach the servers of a case, but are not let in: a user of PostgreSQL can run
// programs there.
func TestServersRefuseOtherUsers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := &scene{dir: t.TempDir(), say: t.Logf}
	t.Cleanup(s.close)

	primary, err := s.startPostgres(ctx, "primary", nil)
	skipWithoutServer(t, err)
	standby, err := s.startPostgres(ctx, "standby", primary)
	skipWithoutServer(t, err)
	for _, p := range []*postgresServer{primary, standby} {
		folder := strings.TrimSuffix(p.dir, "/data")
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the folder of the %s: %v, %v", p.name, info.Mode(), err)
		}
		db, err := sql.Open("pgx", strings.Replace(p.url(), ":"+p.password+"@", "@", 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.PingContext(ctx); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
			t.Errorf("the %s lets users in without a password: %v", p.name, err)
		}
		_ = db.Close()
	}

	r, err := s.startRedis(ctx)
	skipWithoutServer(t, err)
	client := redis.NewClient(&redis.Options{Addr: r.address})
	if err := client.Ping(ctx).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("Redis lets users in without a password: %v", err)
	}
	_ = client.Close()
}

func skipWithoutServer(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("SERVER_TESTS") != "required" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
