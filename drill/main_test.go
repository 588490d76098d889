//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ginsse/ginsse/internal/promtest"
)

func TestMain(m *testing.M) {
	if settings, ok := os.LookupEnv(nodeVariable); ok {
		if err := runNode(settings); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// The other cases take longer: go run ./drill.
func TestShortCases(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	for name, server := range map[string]string{"store-gone": "redis-server", "connect-loop": "prometheus"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(server); err != nil && os.Getenv("SERVER_TESTS") != "required" {
				t.Skip(err)
			}
			d := caseNamed(name)
			d.lasts = time.Minute
			r, err := d.run(t.Context(), "..", false, t.Logf, nil)
			if errors.Is(err, promtest.ErrNotInstalled) && os.Getenv("PROMETHEUS_TESTS") != "required" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range r.problems {
				t.Error(problem)
			}
		})
	}
}
