// Command bench measures the kit beside what one would use instead: the same work,
// on the same machine, in the same run. BENCHMARKS.md has results.
//
// The process that is typed is the driver. A bout is one contestant at one
// scenario, and for each the driver starts two processes anew: a server, whose CPU
// time and memory are what is measured, and a load generator, thousands of clients
// on one goroutine, which checks the number of every event and takes its latency.
// The driver calls both over pipes, and takes the time. In each round all
// contestants take their turns at each scenario, each time another first; the report
// gives the medians of the rounds.
//
// Read measure.go for the rounds, bout.go for one bout and figures.go for what is
// done in it; then internal/load for the clients and internal/report for the tables.
//
// A new contestant is a file in internal/servers and a line in [servers.All]. A new
// scenario is an entry in the list of scenario.go, with a function in figures.go if
// its work is of a new sort.
//
// What several nodes cost is measured by go test -bench Nodes, with one more process, the
// broker: nodes_bench_linux_test.go.
//
// The exit status is 1 if the kit has not done all of its work; what others lose, and
// that one of them could not be run, is in the tables.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/ginsse/ginsse/bench/internal/broker"
	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	var o options
	flag.BoolVar(&o.quick, "quick", false, "a minute's run, to see that everything works; its figures mean little")
	flag.IntVar(&o.rounds, "rounds", 0, "how often each contestant takes its turn; 0 is 3, and 1 with -quick")
	only := flag.String("scenarios", "", "only these, separated by commas: "+strings.Join(namesOf(scenarios(false)), ", "))
	names := flag.String("contestants", "", "only those whose names contain one of these, separated by commas")
	write := flag.Bool("write", false, "put the results into "+page+", and the plots into "+plots)
	flag.StringVar(&o.profiles, "profiles", "", "write CPU profiles of the servers to this `folder`")
	role := flag.String("child", "", "what a process of its own is started for: server, load or broker")
	flag.Parse()
	if err := run(o, *role, *only, *names, *write); err != nil {
		log.Fatal(err)
	}
}

func run(o options, role, only, names string, write bool) error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("there are no arguments beside flags: %q", flag.Args())
	case role == "server":
		return child.Serve(new(servers.Control))
	case role == "load":
		debug.SetGCPercent(400) // its memory is not measured
		control, err := load.NewControl()
		if err != nil {
			return err
		}
		return child.Serve(control)
	case role == "broker":
		return child.Serve(new(broker.Control))
	case role != "":
		return fmt.Errorf("-child is %q; it is server, load or broker", role)
	case o.quick && write:
		return errors.New("-write is for whole runs: the figures of -quick mean little")
	case write && only+names != "":
		return errors.New("-write is for whole runs: it replaces what is there")
	case write && o.profiles != "":
		return errors.New("-write is for figures, and a profile costs something")
	case write && o.rounds > 0 && o.rounds < 3:
		return fmt.Errorf("-write is for whole runs, of at least 3 rounds, not %d", o.rounds)
	case o.rounds < 0:
		return fmt.Errorf("-rounds is %d", o.rounds)
	case o.rounds == 0 && o.quick:
		o.rounds = 1
	case o.rounds == 0:
		o.rounds = 3
	}
	var err error
	if o.scenarios, err = choose(scenarios(o.quick), only); err != nil {
		return err
	}
	if o.contestants, err = chooseContestants(names); err != nil {
		return err
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o750); err != nil {
			return err
		}
	}
	return measureAll(o, write)
}

// Where results are put, from the root of the repository.
const (
	page  = "BENCHMARKS.md"
	plots = "bench/plots"
)

func measureAll(o options, write bool) error {
	if write {
		// Not after an hour.
		if err := rewrite(new(report.Report), false); err != nil {
			return fmt.Errorf("-write: %w", err)
		}
	}
	found := o.measure()
	if err := found.WriteText(os.Stdout); err != nil {
		return err
	}
	if write {
		if _, err := found.WritePlots(filepath.FromSlash(plots)); err != nil {
			return err
		}
		if err := rewrite(found, true); err != nil {
			return err
		}
	}
	return kitFailed(found)
}

// kitFailed names the scenarios in which the kit has not done all of its work.
func kitFailed(found *report.Report) error {
	var failures []error
	for _, s := range found.Scenarios {
		for _, row := range s.Rows {
			if row.Kind == report.Kit && len(row.Failures) > 0 {
				failures = append(failures, fmt.Errorf("%s has failed: %s, %s", row.Contestant, s.Name, strings.Join(row.Failures, "; ")))
			}
		}
	}
	return errors.Join(failures...)
}

// rewrite puts the results into the page, or looks whether it could.
func rewrite(found *report.Report, really bool) error {
	file, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	file, err = report.Replace(file, found.Markdown(func(plot string) string { return plots + "/" + plot }))
	if err != nil || !really {
		return err
	}
	return report.WriteFile(page, file)
}

// choose returns the scenarios named, or all. A group's name stands for its
// scenarios.
func choose(all []scenario, only string) ([]scenario, error) {
	if only == "" {
		return all, nil
	}
	names := strings.Split(only, ",")
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s scenario) bool { return s.named(name) }) {
			return nil, fmt.Errorf("there is no scenario %q; there are %s", name, strings.Join(namesOf(all), ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(s scenario) bool { return !slices.ContainsFunc(names, s.named) }), nil
}

// namesOf lists the names that choose takes, of groups before their scenarios.
func namesOf(all []scenario) (names []string) {
	for _, s := range all {
		if s.Group != "" && !slices.Contains(names, s.Group) {
			names = append(names, s.Group)
		}
		names = append(names, s.Name)
	}
	return names
}

func (s scenario) named(name string) bool {
	return name != "" && (s.Name == name || s.Group == name)
}

// chooseContestants returns those whose names contain one of some parts, or all.
func chooseContestants(parts string) ([]servers.Contestant, error) {
	if parts == "" {
		return servers.All, nil
	}
	var chosen []servers.Contestant
	for _, c := range servers.All {
		if slices.ContainsFunc(strings.Split(parts, ","), func(part string) bool {
			return part != "" && strings.Contains(c.Name, part)
		}) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-contestants is %q, and no name contains that", parts)
	}
	return chosen, nil
}
