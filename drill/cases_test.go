//go:build linux

package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Each alert fires in one case at least, and the page of the runbook shows the graph of each case.
func TestCasesCoverAllAlerts(t *testing.T) {
	t.Parallel()
	fires := make(map[string]bool)
	page, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range allCases() {
		for _, alert := range d.fires {
			fires[alert] = true
		}
		for _, alert := range slices.Concat(d.fires, d.may) {
			if _, ok := numbers[alert]; !ok {
				t.Errorf("%s: there is no alert %s", d.name, alert)
			}
		}
		image := "images/drill-" + d.name + ".svg"
		if !strings.Contains(string(page), "]("+image+")") {
			t.Errorf("the page does not show %s", image)
		}
		if _, err := os.Stat("../docs/" + image); err != nil {
			t.Error(err)
		}
	}
	for alert := range numbers {
		if !fires[alert] {
			t.Errorf("no case has %s fire", alert)
		}
	}
}
