package promginsse_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/promginsse"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md")

// newCollector returns one that has all metrics, also those of a log with a store.
func newCollector(t *testing.T) prometheus.Collector {
	t.Helper()
	metrics := promginsse.New()
	return metrics.Collector(newRegistry(t, ginsse.RegistryConfig{Log: newStoreLog(t), Observers: []*ginsse.Observer{metrics.Observer()}}))
}

// docs/metrics.md has the table of the metrics as they are. After a change, run
// go test ./promginsse -run Docs -update.
func TestDocsHaveAllMetrics(t *testing.T) {
	t.Parallel()
	const file, begin, end = "../docs/metrics.md", "<!-- begin: go test ./promginsse -run Docs -update -->\n", "<!-- end -->\n"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	got, after, ends := strings.Cut(rest, end)
	if !ok || !ends {
		t.Fatalf("%s has no place for the table", file)
	}
	want := "| metric | type | labels | what it is |\n|---|---|---|---|\n"
	for _, family := range gather(t, newCollector(t)) {
		want += fmt.Sprintf("| `%s` | %s | %s | %s |\n", family.GetName(), strings.ToLower(family.GetType().String()), labelsOf(family), family.GetHelp())
	}
	switch {
	case got == want:
	case *update:
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table in %s is not that of the metrics; -update writes it", file)
	}
}

// labelsOf returns the names of the labels and their values.
func labelsOf(family *dto.MetricFamily) string {
	var names []string
	values := make(map[string][]string)
	for _, m := range family.GetMetric() {
		for _, label := range m.GetLabel() {
			if !slices.Contains(names, label.GetName()) {
				names = append(names, label.GetName())
			}
			if !slices.Contains(values[label.GetName()], label.GetValue()) {
				values[label.GetName()] = append(values[label.GetName()], label.GetValue())
			}
		}
	}
	var texts []string
	for _, name := range names {
		texts = append(texts, "`"+name+"`: "+strings.Join(values[name], ", "))
	}
	return strings.Join(texts, "; ")
}

func TestMetricsFollowTheNamingRules(t *testing.T) {
	t.Parallel()
	problems, err := testutil.CollectAndLint(newCollector(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
}

// The alerts are about metrics that exist, each alert is tested, and names a section that says what to do.
func TestAlertsAreComplete(t *testing.T) {
	t.Parallel()
	rules, tests := readFile(t, "alerts.yml"), readFile(t, "alerts_test.yml")
	var names []string
	for _, family := range gather(t, newCollector(t)) {
		names = append(names, family.GetName(), family.GetName()+"_bucket")
	}
	for _, name := range regexp.MustCompile(`ginsse_\w+`).FindAllString(rules+tests, -1) {
		if !slices.Contains(names, name) {
			t.Errorf("there is no metric %s", name)
		}
	}
	alerts := strings.Split(rules, "- alert: ")[1:]
	if len(alerts) < 10 {
		t.Errorf("found %d alerts", len(alerts))
	}
	for _, alert := range alerts {
		name, _, _ := strings.Cut(alert, "\n")
		if !strings.Contains(tests, `alertname="`+name+`", alertstate="firing"`) {
			t.Errorf("no test has %s fire", name)
		}
		for _, part := range []string{"severity: ", "summary: ", "description: ", "runbook_url: https://github.com/ginsse/ginsse/blob/main/docs/operating.md#"} {
			if !strings.Contains(alert, part) {
				t.Errorf("%s has no %s", name, part)
			}
		}
	}
}

// Prometheus' own tool takes the metrics and the alerts, and the tests of the alerts pass.
func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	switch {
	case err == nil:
	case os.Getenv("SERVER_TESTS") == "required":
		t.Fatal(err)
	default:
		t.Skip("promtool is missing; Debian has it in the package prometheus")
	}
	var metrics bytes.Buffer
	for _, family := range gather(t, newCollector(t)) {
		if _, err := expfmt.MetricFamilyToText(&metrics, family); err != nil {
			t.Fatal(err)
		}
	}
	for _, arguments := range [][]string{
		{"check", "metrics"}, {"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"},
	} {
		command := exec.CommandContext(t.Context(), promtool, arguments...)
		command.Stdin = bytes.NewReader(metrics.Bytes())
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, output)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
