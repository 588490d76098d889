package report

import (
	"cmp"
	"math"
	"slices"
)

// section is what is shown under one heading: a scenario, or a group of them.
type section struct {
	name      string // of the scenario or of the group
	scenarios []Scenario
}

// sections keeps the order of the report. A group stands where its first scenario
// does, and is in the order of its sizes.
func (r *Report) sections() []section {
	var all []section
	at := map[string]int{}
	for _, s := range r.Scenarios {
		if s.Group == "" {
			all = append(all, section{s.Name, []Scenario{s}})
			continue
		}
		i, known := at[s.Group]
		if !known {
			i = len(all)
			at[s.Group] = i
			all = append(all, section{name: s.Group})
		}
		all[i].scenarios = append(all[i].scenarios, s)
	}
	for _, s := range all {
		slices.SortStableFunc(s.scenarios, func(a, b Scenario) int { return cmp.Compare(a.X, b.X) })
	}
	return all
}

// size is what sets a scenario apart from the others of its group: "1,000 streams".
func (s Scenario) size() string {
	switch {
	case s.Group == "":
		return ""
	case s.XName == "":
		return exactly(s.X)
	default:
		return exactly(s.X) + space + s.XName
	}
}

// heading is the title, with the size if there are several.
func (s Scenario) heading() string {
	if size := s.size(); size != "" {
		return s.Title + ", " + size
	}
	return s.Title
}

// first is the measure that decides.
func (s Scenario) first() Measure {
	if len(s.Measures) == 0 {
		return Measure{}
	}
	return s.Measures[0]
}

// better says whether a is better than b by the first measure.
func (s Scenario) better(a, b float64) bool {
	if s.first().More {
		return a > b
	}
	return a < b
}

// rows are in the order of their kinds, and as given within one.
func (s Scenario) rows() []Row {
	rows := slices.Clone(s.Rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Kind, b.Kind) })
	return rows
}

// done says whether the row can be compared.
func (r Row) done() bool { return r.Failed == "" && !math.IsNaN(r.Median(0)) }

// best returns the best row among those of some kinds that did the work.
func (s Scenario) best(kinds ...Kind) (best Row, found bool) {
	for _, row := range s.Rows {
		if !row.done() || !slices.Contains(kinds, row.Kind) {
			continue
		}
		if !found || s.better(row.Median(0), best.Median(0)) {
			best, found = row, true
		}
	}
	return best, found
}

// defeat is one scenario in which the kit is not first.
type defeat struct {
	scenario Scenario
	kit      Row
	better   []Row // best first; none if the kit has not done the work
}

// defeats are in the order of the report.
func (r *Report) defeats() []defeat {
	var all []defeat
	for _, s := range r.Scenarios {
		for _, kit := range s.Rows {
			if kit.Kind != Kit {
				continue
			}
			better := s.ahead(kit)
			if len(better) > 0 || !kit.done() {
				all = append(all, defeat{s, kit, better})
			}
		}
	}
	return all
}

// ahead returns the competitors with a better figure than the kit's, best first. The
// floor is none: it does less than what the work asks for.
func (s Scenario) ahead(kit Row) []Row {
	if !kit.done() {
		return nil
	}
	var rows []Row
	for _, row := range s.rows() {
		if (row.Kind == Hand || row.Kind == Peer) && row.done() && s.better(row.Median(0), kit.Median(0)) {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		if s.first().More {
			a, b = b, a
		}
		return cmp.Compare(a.Median(0), b.Median(0))
	})
	return rows
}
