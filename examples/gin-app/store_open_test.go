package main

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// openOnly is the environment variable with the file that a child process of a test opens.
const openOnly = "GIN_APP_OPEN_ONLY"

// While another connection writes, the switch to a write-ahead log fails at once. busy_timeout does
// not apply to it.
func TestOpenWaitsForAnotherWriter(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "feed.db")
	other, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), openRetryInterval)
	defer cancel()
	if _, err := openStore(ctx, file, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	time.AfterFunc(2*openRetryInterval, func() { other.ExecContext(t.Context(), "ROLLBACK") })
	newTestStore(t, file)
}

// The first one creates the file and its schema. The others wait.
func TestConcurrentOpensOfANewFile(t *testing.T) {
	t.Parallel()
	for range 10 {
		file := filepath.Join(t.TempDir(), "feed.db")
		start := make(chan struct{})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				<-start
				s, err := openStore(t.Context(), file, "")
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Ping(t.Context()); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
	}
}

func TestConcurrentOpensOfANewFileByProcesses(t *testing.T) {
	if file := os.Getenv(openOnly); file != "" {
		newTestStore(t, file)
		return
	}
	t.Parallel()
	file := filepath.Join(t.TempDir(), "feed.db")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
			process.Env = append(os.Environ(), openOnly+"="+file)
			if output, err := process.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
	wg.Wait()
}
