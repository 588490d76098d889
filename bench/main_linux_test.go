package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// TestMain also runs child processes: a bout starts the test binary again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-child" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestRunRejectsInvalidOptions(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		o                 options
		role, only, names string
		write             bool
		want              string
	}{
		"unknown_scenario":   {only: "paced,nosuch", want: `there is no scenario "nosuch"`},
		"empty_scenario":     {only: "paced,", want: `there is no scenario ""`},
		"unknown_contestant": {names: "nobody", want: `-contestants "nobody" matches no contestant`},
		"unknown_role":       {role: "cook", want: `-child is "cook"; it is server, load or broker`},
		"quick_and_write":    {o: options{quick: true}, write: true, want: "-write and -quick exclude each other: the figures of -quick mean little"},
		"profiles_and_write": {o: options{profiles: "x"}, write: true, want: "-write and -profiles exclude each other: profiling changes the figures"},
		"few_and_write":      {o: options{rounds: 2}, write: true, want: "-write needs at least 3 rounds, not 2"},
		"rounds_below_zero":  {o: options{rounds: -1}, want: "-rounds is negative: -1"},
		// The test runs in bench/, not at the root of the repository.
		"write_elsewhere": {write: true, want: "-write: there is no folder bench/results"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := run(test.o, test.role, test.only, test.names, test.write)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("the error is %v, want %s", err, test.want)
			}
		})
	}
}

func TestResultsNameHasDateAndRestrictions(t *testing.T) {
	t.Parallel()
	date := time.Date(2026, 2, 3, 23, 30, 0, 0, time.FixedZone("", -3600))
	for _, test := range []struct{ only, names, want string }{
		{"", "", "2026-02-04"},
		{"large,paced", "", "2026-02-04-large-paced"},
		{"", "c.Stream by hand", "2026-02-04-c-Stream-by-hand"},
		{"paced", "ginsse", "2026-02-04-paced-ginsse"},
	} {
		if got := resultsName(date, test.only, test.names); got != test.want {
			t.Errorf("%q and %q give %q, want %q", test.only, test.names, got, test.want)
		}
	}
}

// A page shows its plots if the address of each is that of a file, as seen from the page.
func TestWriteResultsPutsPlotsBesideThePage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	found := &report.Report{Scenarios: []report.Scenario{{Name: "paced", Title: "Paced", Rows: []report.Row{{Contestant: "ginsse"}}}}}
	if err := writeResults(found, dir, "2026-02-04"); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "2026-02-04.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "](2026-02-04/paced.svg)") {
		t.Errorf("there is no plot in\n%s", page)
	}
	if _, err := os.Stat(filepath.Join(dir, "2026-02-04", "paced.svg")); err != nil {
		t.Error(err)
	}
}

func TestChooseSelectsScenariosAndGroupsByName(t *testing.T) {
	t.Parallel()
	all := []scenario{
		{Scenario: report.Scenario{Name: "one"}},
		{Scenario: report.Scenario{Name: "small", Group: "growth"}},
		{Scenario: report.Scenario{Name: "two"}},
		{Scenario: report.Scenario{Name: "large", Group: "growth"}},
	}
	for name, test := range map[string]struct {
		only string
		want []string
	}{
		"all":           {"", []string{"one", "small", "two", "large"}},
		"one":           {"two", []string{"two"}},
		"several":       {"two,one", []string{"one", "two"}},
		"group":         {"growth", []string{"small", "large"}},
		"one_of_group":  {"large", []string{"large"}},
		"each_but_once": {"growth,small,one,one", []string{"one", "small", "large"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chosen, err := choose(all, test.only)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range chosen {
				got = append(got, s.Name)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%q chooses %q, want %q", test.only, got, test.want)
			}
		})
	}
	if len(all) != 4 || all[0].Name != "one" || all[3].Name != "large" {
		t.Errorf("choose changed its argument: %+v", all)
	}
}

func TestChooseContestantsMatchesPartsOfNames(t *testing.T) {
	t.Parallel()
	for parts, want := range map[string]int{
		"": len(servers.All), "ginsse": 1, "gins": 2, "compact": 1, "by hand": 2, "floor,ginsse": 2, "floor,": 1, "floor,floo": 1,
	} {
		if got, err := chooseContestants(parts); err != nil || len(got) != want {
			t.Errorf("%q chooses %d, %v, want %d", parts, len(got), err, want)
		}
	}
}

func TestOnlyFailuresOfTheKitFailTheRun(t *testing.T) {
	t.Parallel()
	found := &report.Report{Scenarios: []report.Scenario{
		{Name: "paced", Rows: []report.Row{
			{Contestant: "ginsse", Kind: report.Kit},
			{Contestant: "other", Kind: report.Peer, Failures: []string{"lost 3 of 10"}},
			{Contestant: "floor", Kind: report.Floor, Failures: []string{"ended 3 streams"}},
		}},
		{Name: "full", Rows: []report.Row{{Contestant: "other", Kind: report.Hand, Failures: []string{"delivered 3 %"}}}},
	}}
	if err := kitFailed(found); err != nil {
		t.Errorf("failures of other contestants give the error %v", err)
	}
	found.Scenarios[0].Rows[0].Failures = []string{"lost 1 of 10", "delivered 8 %"}
	found.Scenarios[1].Rows = append(found.Scenarios[1].Rows, report.Row{Contestant: "ginsse", Kind: report.Kit, Failures: []string{"delivered 9 %"}})
	const want = "ginsse has failed: paced, lost 1 of 10; delivered 8 %\nginsse has failed: full, delivered 9 %"
	if err := kitFailed(found); err == nil || err.Error() != want {
		t.Errorf("failures of the kit give the error %v, want %s", err, want)
	}
}
