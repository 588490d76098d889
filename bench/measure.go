//go:build linux

package main

import (
	"fmt"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// options says what to measure.
type options struct {
	quick       bool
	databases   bool // measure the logs in databases instead
	rounds      int
	scenarios   []scenario
	contestants []servers.Contestant
	profiles    string
}

// measure runs each scenario with each contestant, round after round. The order changes from
// round to round, so that changes on the machine affect all contestants alike.
func (o options) measure() *report.Report {
	r := &report.Report{
		Date:     time.Now(),
		Command:  strings.TrimSpace("go run ./bench " + strings.Join(os.Args[1:], " ")),
		Rounds:   o.rounds,
		Machine:  machine(),
		Versions: versions(o.contestants),
		Commit:   commit(),
	}
	for _, c := range o.contestants {
		r.Contestants = append(r.Contestants, report.Contestant{Name: c.Name, Kind: c.Kind, About: c.About})
	}
	for _, s := range o.scenarios {
		for _, c := range o.contestants {
			row := report.Row{Contestant: c.Name, Kind: c.Kind, Values: make([][]float64, len(s.Measures))}
			if s.excuse != nil {
				row.Excused = s.excuse(c)
			}
			s.Rows = append(s.Rows, row)
		}
		r.Scenarios = append(r.Scenarios, s.Scenario)
	}
	for round := range o.rounds {
		for i, s := range o.scenarios {
			for _, k := range turns(len(o.contestants), round) {
				row := &r.Scenarios[i].Rows[k]
				if row.Excused != "" {
					continue
				}
				f, disturbed := o.bout(s, o.contestants[k], round)
				add(row, f, disturbed)
			}
		}
	}
	r.Took = time.Since(r.Date)
	return r
}

// turns returns the order of the contestants in a round. Each round starts with another
// contestant, and every second round is in reverse.
func turns(n, round int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = (i + 3*round) % n
	}
	if round%2 == 1 {
		slices.Reverse(order)
	}
	return order
}

// add adds the figures of a bout to the contestant's row.
func add(row *report.Row, f figures, disturbed bool) {
	if f.failed != "" {
		row.Failures = append(row.Failures, f.failed)
	}
	if disturbed {
		row.Disturbed++
	}
	for i := range row.Values {
		value := math.NaN()
		if i < len(f.values) {
			value = f.values[i]
		}
		row.Values[i] = append(row.Values[i], value)
	}
}

// mostOthers is how many cores other processes may use during a bout. If they use more, the
// bout is disturbed.
const mostOthers = 0.15

// bout holds a bout, and says whether it was disturbed. A disturbed bout is repeated up to
// twice. The least disturbed one counts.
func (o options) bout(s scenario, c servers.Contestant, round int) (best figures, disturbed bool) {
	least := math.Inf(1)
	for try := 1; ; try++ {
		f, others, err := o.once(s, c, round)
		if err != nil { // it fails the contestant and does not end the run
			f = figures{failed: "failed: " + err.Error()}
		}
		log.Printf("round %d, %s, %s: %v %s", round+1, s.Name, c.Name, f.values, f.failed)
		if others < least && (err == nil || best.values == nil) {
			best, least = f, others
		}
		if least < mostOthers || o.quick || try == 3 {
			return best, least >= mostOthers
		}
		log.Printf("repeating: other processes used %.2f cores meanwhile", others)
	}
}

// once holds a bout once. It returns its figures, and how many cores other processes used.
func (o options) once(s scenario, c servers.Contestant, round int) (figures, float64, error) {
	b, err := newBout(c, s)
	defer b.stop()
	if o.profiles != "" {
		name := strings.NewReplacer("/", "-", " ", "-").Replace(fmt.Sprintf("%s.%s.%d.pprof", s.Name, c.Name, round+1))
		b.profile = filepath.Join(o.profiles, name)
	}
	var f figures
	if err == nil {
		f, err = s.run(s, b)
	}
	if failed := b.memoryLimit.failure(); failed != "" { // it causes other errors
		return figures{failed: failed}, b.others, nil
	}
	if err == nil && f.failed == "" && len(f.values) != len(s.Measures) {
		err = fmt.Errorf("%d figures for %d measures", len(f.values), len(s.Measures))
	}
	return f, b.others, err
}

func machine() report.Machine {
	m := report.Machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(info), "model name")
		line, _, _ := strings.Cut(rest, "\n")
		m.CPU = strings.Trim(line, "\t :")
	}
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		if fields := strings.Fields(string(info)); len(fields) > 1 {
			kb, _ := strconv.ParseInt(fields[1], 10, 64) // MemTotal
			m.Memory = kb << 10
		}
	}
	var name syscall.Utsname
	if syscall.Uname(&name) == nil {
		var release []byte
		for _, c := range name.Release {
			if c == 0 {
				break
			}
			release = append(release, byte(c))
		}
		m.Kernel = "Linux " + string(release)
	}
	return m
}

// versions returns the versions of the libraries that this program was built with. The kit
// is part of the tree, and has no version.
func versions(contestants []servers.Contestant) []report.Version {
	modules := []string{"github.com/gin-gonic/gin", "github.com/golang-jwt/jwt/v5"}
	for _, c := range contestants {
		modules = append(modules, c.Module)
	}
	return versionsOf(modules...)
}

// versionsOf returns the versions of modules that this program was built with.
func versionsOf(modules ...string) (list []report.Version) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, dep := range info.Deps {
		if slices.Contains(modules, dep.Path) && strings.HasPrefix(dep.Version, "v") {
			list = append(list, report.Version{Module: dep.Path, Version: dep.Version})
		}
	}
	return list
}

// commit returns the commit of the measured tree, or "" outside a repository.
func commit() string {
	revision, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output() //nolint:noctx // it does not wait
	if err != nil {
		return ""
	}
	name := strings.TrimSpace(string(revision))
	if changes, err := exec.Command("git", "status", "--porcelain").Output(); err != nil || len(changes) > 0 { //nolint:noctx // likewise
		name += " with changes"
	}
	return name
}
