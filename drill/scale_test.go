//go:build linux

package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestExpressionsAreScaled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expr, want string
		units      []unit
	}{
		{`rate(x_total{reason="5m"}[5m]) > 0.1`, `rate(x_total{reason="5m"}[15000ms]) > 2`, []unit{perSecond}},
		{`300 * rate(x1_total[2m]) > clamp_min(x1, 50)`, `15 * rate(x1_total[6000ms]) > clamp_min(x1, 50)`, []unit{seconds, fixed}},
		{`rate(x[15m] offset 1d) == 0`, `rate(x[45000ms] offset 4320000ms) == 0`, []unit{fixed}},
		{`increase(x{le='10'}[5m]) >= 10 # 7 of 5m`, `increase(x{le='10'}[15000ms]) >= 10 # 7 of 5m`, []unit{fixed}},
	} {
		if got, err := scaleExpr(c.expr, c.units); err != nil || got != c.want {
			t.Errorf("%s became %s, %v; want %s", c.expr, got, err, c.want)
		}
	}
	for expr, units := range map[string][]unit{"x > 1": nil, "x": {fixed}} {
		if _, err := scaleExpr(expr, units); err == nil {
			t.Errorf("%s with %d numbers was scaled", expr, len(units))
		}
	}
}

// The table of numbers says of each number of each rule what it is, and of no others. Prometheus takes
// the rules.
func TestAllRulesAreScaled(t *testing.T) {
	t.Parallel()
	const path = "../promginsse/alerts.yml"
	scaledText, err := readRules(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var before, after ruleFile
	if err := yaml.Unmarshal(text, &before); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(scaledText, &after); err != nil {
		t.Fatal(err)
	}
	left := maps.Clone(numbers)
	for g, group := range before.Groups {
		for i, r := range group.Rules {
			delete(left, r.Alert)
			got := after.Groups[g].Rules[i]
			if r.For != "" && got.For != scaleDuration(r.For) || got.Alert != r.Alert || len(got.Annotations) != len(r.Annotations) {
				t.Errorf("%s became %+v", r.Alert, got)
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("there are no alerts %v", slices.Collect(maps.Keys(left)))
	}

	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("PROMETHEUS_TESTS") == "required" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, scaledText, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
