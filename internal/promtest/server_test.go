package promtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ginsse/ginsse/internal/promtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// target is an address to scrape, with a metric that the test sets.
type target struct {
	address string
	value   atomic.Int64
}

func newTarget(t *testing.T) *target {
	t.Helper()
	target := new(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			fmt.Fprintf(w, "# TYPE level gauge\nlevel{of=\"water\"} %d\n", target.value.Load())
		}
	}))
	t.Cleanup(server.Close)
	target.address = server.Listener.Addr().String()
	return target
}

func withTimeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestQueriesReturnWhatWasScraped(t *testing.T) {
	t.Parallel()
	target := newTarget(t)
	target.value.Store(7)
	began := time.Now()
	s := promtest.New(t, promtest.Config{Jobs: map[string][]string{"well": {target.address}}, Interval: 100 * time.Millisecond})
	ctx := withTimeout(t)
	found, err := s.Await(ctx, "level == 7")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"__name__": "level", "of": "water", "job": "well", "instance": target.address}
	if len(found) != 1 || fmt.Sprint(found[0].Labels) != fmt.Sprint(want) || len(found[0].Points) != 1 || found[0].Points[0].Value != 7 {
		t.Errorf("got %+v", found)
	}
	target.value.Store(9)
	if _, err := s.Await(ctx, "level == 9"); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Second)
	course, err := s.QueryRange(ctx, "level", began, end, 50*time.Millisecond)
	if err != nil || len(course) != 1 {
		t.Fatal(course, err)
	}
	points := course[0].Points
	if first, last := points[0], points[len(points)-1]; len(points) < 2 || first.Value != 7 || last.Value != 9 || !first.Time.After(began) || last.Time.After(end) {
		t.Errorf("from %v until %v, got %v", began, end, points)
	}
	if scalar, err := s.Query(ctx, "-1/0"); err != nil || fmt.Sprint(scalar[0].Points[0].Value) != "-Inf" {
		t.Errorf("got %v, %v", scalar, err)
	}
	if nothing, err := s.Query(ctx, "absent(up)"); err != nil || len(nothing) != 0 {
		t.Errorf("got %v, %v", nothing, err)
	}
}

func TestAlertsFireAndEnd(t *testing.T) {
	t.Parallel()
	target := newTarget(t)
	rules := filepath.Join(t.TempDir(), "rules.yml")
	err := os.WriteFile(rules, []byte(`groups: [{name: g, rules: [{alert: Flood, expr: level > 5, for: 200ms, annotations: {summary: "{{ $value }} m"}}]}]`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := promtest.New(t, promtest.Config{Jobs: map[string][]string{"well": {target.address}}, Interval: 100 * time.Millisecond, RuleFiles: []string{rules}})
	ctx := withTimeout(t)
	if _, err := s.Await(ctx, "level == 0"); err != nil {
		t.Fatal(err)
	}
	if alerts, err := s.Alerts(ctx); err != nil || len(alerts) != 0 {
		t.Fatalf("got %+v, %v", alerts, err)
	}
	target.value.Store(6)
	if _, err := s.Await(ctx, `ALERTS{alertname="Flood", alertstate="firing"}`); err != nil {
		t.Fatal(err)
	}
	alerts := awaitAlerts(ctx, t, s, func(alerts []promtest.Alert) bool { return len(alerts) == 1 && alerts[0].Firing() })
	if a := alerts[0]; a.Name != "Flood" || !a.Firing() || a.Labels["of"] != "water" || a.Annotations["summary"] != "6 m" || time.Since(a.ActiveAt) > time.Minute {
		t.Errorf("got %+v", a)
	}
	target.value.Store(0)
	awaitAlerts(ctx, t, s, func(alerts []promtest.Alert) bool { return len(alerts) == 0 })
}

// awaitAlerts waits until a condition is true for the alerts. On a busy machine, a scrape may take longer
// than its interval, which ends an alert for a while.
func awaitAlerts(ctx context.Context, t *testing.T, s *promtest.Server, ok func(alerts []promtest.Alert) bool) []promtest.Alert {
	t.Helper()
	for last := []promtest.Alert(nil); ; <-time.After(20 * time.Millisecond) {
		alerts, err := s.Alerts(ctx)
		switch {
		case err != nil:
			t.Fatalf("the alerts were %+v: %v", last, err)
		case ok(alerts):
			return alerts
		}
		last = alerts
	}
}

func TestErrorsOfQueriesHaveTheirReason(t *testing.T) {
	t.Parallel()
	s := promtest.New(t, promtest.Config{})
	if _, err := s.Query(withTimeout(t), "rate(up)"); err == nil || !strings.Contains(err.Error(), "expected type range vector") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Await(ctx, "up == 1"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The folder for temporary files is the test's own, so this test is not parallel.
func TestStopLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	s := promtest.New(t, promtest.Config{})
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("while it runs there are %v, %v", left, err)
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("there are %v, %v", left, err)
	}
	if _, err := s.Query(withTimeout(t), "up"); err == nil {
		t.Error("it answers")
	}
	if _, err := promtest.Start(withTimeout(t), promtest.Config{File: filepath.Join(dir, "missing.yml")}); err == nil || !strings.Contains(err.Error(), "missing.yml") {
		t.Errorf("with a configuration that is missing, got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("after an error there are %v, %v", left, err)
	}
}

// PATH is that of the process, so this test is not parallel.
func TestStartSaysThatPrometheusIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := promtest.Start(withTimeout(t), promtest.Config{}); !errors.Is(err, promtest.ErrNotInstalled) {
		t.Errorf("got %v", err)
	}
}
