package databases

import (
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
)

// testCase is a row of a table, and how it is measured once.
type testCase struct {
	name string
	once func() ([]float64, error) // a value for each figure
}

// measure measures the cases of a table in turn, and adds the table. Each round begins with another
// case.
func (r *run) measure(t *Table, cases []testCase) error {
	r.report.Tables = append(r.report.Tables, t)
	for _, c := range cases {
		t.Rows = append(t.Rows, Row{Name: c.name, Values: make([][]float64, len(t.Figures))})
	}
	for round := range r.Rounds {
		for i := range cases {
			k := (i + round) % len(cases)
			before, start := used(), time.Now()
			values, err := cases[k].once()
			if err != nil {
				return fmt.Errorf("%s: %s: %w", t.Title, cases[k].name, err)
			}
			others := used().sub(before).others().Seconds() / time.Since(start).Seconds()
			t.Others = append(t.Others, max(0, others))
			for f, v := range values {
				t.Rows[k].Values[f] = append(t.Rows[k].Values[f], v)
			}
			log.Printf("round %d, %s, %s: %.4v; others used %.1f cores", round+1, t.Title, cases[k].name, values, others)
		}
	}
	return nil
}

// cpu is the CPU time that was used: by the whole machine, by this process, and by its descendants,
// which are the servers.
type cpu struct{ machine, own, servers time.Duration }

func (c cpu) sub(other cpu) cpu {
	return cpu{c.machine - other.machine, c.own - other.own, c.servers - other.servers}
}

func (c cpu) others() time.Duration { return c.machine - c.own - c.servers }

// per returns the CPU of this process and of the servers, in microseconds for each of n.
func (c cpu) per(n int64) (own, servers float64) {
	return float64(c.own.Microseconds()) / float64(n), float64(c.servers.Microseconds()) / float64(n)
}

// used returns what was used so far.
func used() (c cpu) {
	type process struct {
		parent int
		ticks  int
	}
	all := make(map[int]process)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil { // it has ended
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 15 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		p := process{parent: parent}
		for _, field := range fields[11:15] { // its own time, and that of children that have ended
			n, _ := strconv.Atoi(field)
			p.ticks += n
		}
		all[pid] = p
	}
	self := os.Getpid()
	for _, p := range all {
		for at := p.parent; at > 1; at = all[at].parent {
			if at == self {
				c.servers += time.Duration(p.ticks) * 10 * time.Millisecond
				break
			}
		}
	}
	c.machine = child.MachineCPU()
	c.own, _ = child.CPU()
	return c
}

// quantile returns a quantile of durations in milliseconds. It sorts them.
func quantile(list []time.Duration, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[min(int(q*float64(len(list))), len(list)-1)].Seconds() * 1000
}
