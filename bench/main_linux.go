// Command bench compares the kit with its alternatives: the same work, on the same
// machine, in the same run. BENCHMARKS.md explains the results.
//
// The process that the user starts is the driver. A bout is one contestant at one
// scenario. For each bout the driver starts two new processes: a server, whose CPU time
// and memory are measured, and a load generator. The load generator runs thousands of
// clients on one goroutine. It checks the number of every event and takes its latency.
// The driver calls both processes over pipes, and takes the time. In each round every
// contestant runs every scenario, in another order each time. The report gives the
// medians of the rounds.
//
// Start reading with measure.go (rounds), bout.go (one bout) and figures.go (the work of
// a bout). Package internal/load has the clients, internal/report the tables.
//
// To add a contestant, add a file to internal/servers and a line to [servers.All]. To add
// a scenario, add an entry to the list in scenario.go. Work of a new kind needs a function
// in figures.go, or in a file of its own as in large.go.
//
// The scenarios nodes-* have several servers and load generators, and a broker: see nodes.go
// and cluster.go. What a shared log costs is measured by go test -bench Nodes: see
// nodes_bench_linux_test.go.
//
// Package internal/databases measures package sqllog beside natslog and redislog, with -databases.
//
// The exit status is 1 if the kit has failed a scenario. Failures of other contestants
// are in the tables only.
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
	"time"

	"github.com/ginsse/ginsse/bench/internal/broker"
	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/bench/internal/databases"
	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	var o options
	flag.BoolVar(&o.quick, "quick", false, "run for about two minutes, to check that everything works; the figures mean little")
	flag.IntVar(&o.rounds, "rounds", 0, "how often each contestant runs each scenario; 0 is 3, or 1 with -quick")
	only := flag.String("scenarios", "", "run only these, separated by commas: "+strings.Join(namesOf(scenarios(false)), ", "))
	names := flag.String("contestants", "", "run only those whose names contain one of these, separated by commas; a whole name selects that one only")
	write := flag.Bool("write", false, "write the results, with plots, to "+results+"/DATE.md, at the root of the repository")
	flag.StringVar(&o.profiles, "profiles", "", "write CPU profiles of the servers to this `folder`")
	flag.BoolVar(&o.databases, "databases", false, "measure the logs in databases, NATS and Redis instead; -scenarios chooses among "+strings.Join(databases.Parts, ", "))
	role := flag.String("child", "", "internal: what the driver starts this process as: server, load or broker")
	flag.Parse()
	if err := run(o, *role, *only, *names, *write); err != nil {
		log.Fatal(err)
	}
}

func run(o options, role, only, names string, write bool) error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected arguments: %q", flag.Args())
	case role == "server":
		return child.Serve(new(servers.Control))
	case role == "load":
		debug.SetGCPercent(400) // the load generator's memory is not measured
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
		return errors.New("-write and -quick exclude each other: the figures of -quick mean little")
	case write && o.profiles != "":
		return errors.New("-write and -profiles exclude each other: profiling changes the figures")
	case write && o.rounds > 0 && o.rounds < 3:
		return fmt.Errorf("-write needs at least 3 rounds, not %d", o.rounds)
	case o.databases && names != "":
		return errors.New("-databases has no -contestants")
	case o.rounds < 0:
		return fmt.Errorf("-rounds is negative: %d", o.rounds)
	case o.rounds == 0 && o.quick:
		o.rounds = 1
	case o.rounds == 0:
		o.rounds = 3
	}
	if !o.databases {
		var err error
		if o, err = o.choose(only, names); err != nil {
			return err
		}
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o750); err != nil {
			return err
		}
	}
	name := ""
	if write {
		if info, err := os.Stat(results); err != nil || !info.IsDir() { // not after an hour
			return fmt.Errorf("-write: there is no folder %s; run it at the root of the repository", results)
		}
		name = resultsName(time.Now(), only, names)
		if o.databases {
			name = resultsName(time.Now(), "databases", only)
		}
	}
	if o.databases {
		return measureDatabases(o, only, name)
	}
	return measureAll(o, name)
}

// choose returns the options with the scenarios and contestants set.
func (o options) choose(only, names string) (_ options, err error) {
	if o.scenarios, err = choose(scenarios(o.quick), only); err != nil {
		return o, err
	}
	if o.contestants, err = chooseContestants(names); err != nil {
		return o, err
	}
	most, err := child.MostStreams()
	if err != nil {
		return o, err
	}
	return o, checkFiles(o.scenarios, most)
}

// results is the folder of written results, from the root of the repository.
const results = "bench/results"

// resultsName is the name of a run's results: the date, and what the run was restricted to.
// A second run of the same name on the same day replaces the first.
func resultsName(date time.Time, only, names string) string {
	parts := []string{date.UTC().Format(time.DateOnly)}
	for _, restriction := range []string{only, names} {
		if restriction != "" {
			parts = append(parts, restriction)
		}
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.Join(parts, "-"))
}

// measureAll measures, prints the report and, if there is a name, writes the results.
func measureAll(o options, name string) error {
	found := o.measure()
	if err := found.WriteText(os.Stdout); err != nil {
		return err
	}
	if name != "" {
		if err := writeResults(found, results, name); err != nil {
			return err
		}
	}
	return kitFailed(found)
}

// writeResults writes a page, and its plots into a folder of the same name beside it.
func writeResults(found *report.Report, dir, name string) error {
	if _, err := found.WritePlots(filepath.Join(dir, name)); err != nil {
		return err
	}
	text := found.Markdown(func(plot string) string { return name + "/" + plot })
	return report.WriteFile(filepath.Join(dir, name+".md"), []byte(text))
}

// kitFailed returns an error for each scenario that the kit has failed.
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

// choose returns the named scenarios, or all if only is "". The name of a group selects
// all scenarios in it.
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

// checkFiles returns an error for each scenario that has more streams in one process than its
// limit of open files allows.
func checkFiles(list []scenario, most int) error {
	var failures []error
	for _, s := range list {
		if n := s.work.files(); n > most {
			failures = append(failures, fmt.Errorf("%s has %d streams in one process, and the limit of open files allows %d: "+
				"raise it (ulimit -Hn), or choose other scenarios with -scenarios", s.Name, n, most))
		}
	}
	return errors.Join(failures...)
}

// namesOf lists the names that choose accepts. A group comes before its scenarios.
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

// chooseContestants returns the contestants whose names contain one of the parts, which
// commas separate, or all if parts is "". A part that is a whole name selects that one only.
func chooseContestants(parts string) ([]servers.Contestant, error) {
	if parts == "" {
		return servers.All, nil
	}
	var chosen []servers.Contestant
	for _, c := range servers.All {
		if slices.ContainsFunc(strings.Split(parts, ","), func(part string) bool {
			_, err := servers.ByName(part)
			return part == c.Name || part != "" && err != nil && strings.Contains(c.Name, part)
		}) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-contestants %q matches no contestant", parts)
	}
	return chosen, nil
}
