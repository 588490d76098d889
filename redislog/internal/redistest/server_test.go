//go:build linux

package redistest_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

func set(t *testing.T, client redis.UniversalClient, key string) {
	t.Helper()
	if err := client.Set(t.Context(), key, "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, client redis.UniversalClient, key string) bool {
	t.Helper()
	count, err := client.Exists(t.Context(), key).Result()
	return err == nil && count == 1
}

func TestServerKeepsWhatItsSettingsSay(t *testing.T) {
	for _, program := range redistest.Programs(t) {
		for settings, want := range map[string]bool{redistest.AOF: true, redistest.InMemory: false} {
			s := redistest.StartProgram(t, program, settings)
			client := s.Client(t)
			set(t, client, "k")
			s.Kill(t)
			if has(t, client, "k") {
				t.Error("a server that was killed answers")
			}
			s.Restart(t)
			if got := has(t, client, "k"); got != want {
				t.Errorf("%s with %q has the key after a restart: %v", program, settings, got)
			}
			set(t, client, "k")
			s.Stop(t)
			s.Restart(t)
			if got := has(t, client, "k"); got != want {
				t.Errorf("%s with %q has the key after it was stopped: %v", program, settings, got)
			}
		}
	}
}

func TestFrozenServerAnswersAgain(t *testing.T) {
	s := redistest.Start(t, "requirepass secret")
	client := s.Client(t)
	set(t, client, "k")
	s.Freeze(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Error("a frozen server answers")
	}
	s.Thaw(t)
	if !has(t, client, "k") {
		t.Error("the key is not there")
	}
}

func TestReplicaIsPromoted(t *testing.T) {
	master, replica := redistest.Start(t), redistest.Start(t)
	set(t, master.Client(t), "k")
	replica.Follow(t, master.Addr())
	client := replica.Client(t)
	if err := client.Set(t.Context(), "k", "2", 0).Err(); err == nil {
		t.Error("a replica takes writes")
	}
	if !has(t, client, "k") {
		t.Error("the replica has no contents")
	}
	master.Kill(t)
	replica.Promote(t)
	set(t, client, "k")
}

func TestBackupIsRestored(t *testing.T) {
	s := redistest.Start(t, redistest.AOF)
	client := s.Client(t)
	set(t, client, "old")
	s.Kill(t)
	restore := s.Backup(t)
	s.Restart(t)
	set(t, client, "new")
	s.Kill(t)
	restore()
	s.Restart(t)
	if !has(t, client, "old") || has(t, client, "new") {
		t.Error("the contents are not those of the backup")
	}
}
