package report

import (
	"cmp"
	"math"
	"slices"
)

// first is the measure that decides the rank.
func (s Scenario) first() Measure {
	if len(s.Measures) == 0 {
		return Measure{}
	}
	return s.Measures[0]
}

// rows returns the rows in the order of their kinds. Within a kind they keep their order.
func (s Scenario) rows() []Row {
	rows := slices.Clone(s.Rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Kind, b.Kind) })
	return rows
}

// best returns the best row, by the first measure, of those of the given kinds that have
// done the work.
func (s Scenario) best(kinds ...Kind) (best Row, found bool) {
	for _, row := range s.rows() {
		if !row.done() || !slices.Contains(kinds, row.Kind) {
			continue
		}
		if !found || s.first().better(row.Median(0), best.Median(0)) {
			best, found = row, true
		}
	}
	return best, found
}

// defeat is a scenario in which the kit is not first.
type defeat struct {
	scenario Scenario
	kit      Row
	losses   []loss // none if the kit has failed
}

// loss is a measure by which other contestants are better.
type loss struct {
	measure int
	better  []Row // best first; none if the kit has no figure
}

// defeats returns the defeats in the order of the report.
func (r *Report) defeats() []defeat {
	var all []defeat
	for _, s := range r.Scenarios {
		for _, kit := range s.Rows {
			if kit.Kind != Kit {
				continue
			}
			losses := s.losses(kit)
			if len(losses) > 0 || kit.failed() {
				all = append(all, defeat{s, kit, losses})
			}
		}
	}
	return all
}

func (s Scenario) losses(kit Row) []loss {
	if kit.failed() {
		return nil
	}
	var all []loss
	for i, m := range s.Measures {
		if m.InfoOnly {
			continue
		}
		better := s.ahead(kit, i)
		if len(better) > 0 || math.IsNaN(kit.Median(i)) {
			all = append(all, loss{i, better})
		}
	}
	return all
}

func (s Scenario) level(a, b Row, measure int) bool {
	return s.Measures[measure].level(a.figures(measure), b.figures(measure))
}

// ahead returns the competitors with a better figure than the kit's, best first. One odd
// round is enough to be level, so it includes those that are level if their medians are
// apart. The floor is no competitor: it does less than the work requires.
func (s Scenario) ahead(kit Row, measure int) []Row {
	m := s.Measures[measure]
	var rows []Row
	for _, row := range s.rows() {
		competes := (row.Kind == Hand || row.Kind == Peer) && row.has(measure)
		if competes && m.better(row.Median(measure), kit.Median(measure)) && (!s.level(row, kit, measure) || m.apart(row.Median(measure), kit.Median(measure))) {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		switch p, q := a.Median(measure), b.Median(measure); {
		case m.better(p, q):
			return -1
		case m.better(q, p):
			return 1
		default:
			return 0
		}
	})
	return rows
}
