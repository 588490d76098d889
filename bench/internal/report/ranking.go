package report

import (
	"cmp"
	"math"
	"slices"
)

// first is the measure that decides.
func (s Scenario) first() Measure {
	if len(s.Measures) == 0 {
		return Measure{}
	}
	return s.Measures[0]
}

// rows are in the order of their kinds, and as given within one.
func (s Scenario) rows() []Row {
	rows := slices.Clone(s.Rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Kind, b.Kind) })
	return rows
}

// best returns the best row, by the first measure, among those of some kinds that did
// the work.
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

// defeat is one scenario in which the kit is not first.
type defeat struct {
	scenario Scenario
	kit      Row
	losses   []loss // none if the kit has not done the work
}

// loss is one measure by which others are better.
type loss struct {
	measure int
	better  []Row // best first; none if the kit has no figure
}

// defeats are in the order of the report.
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
		if m.Aside {
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

// ahead returns the competitors with a better figure than the kit's, best first. Of
// those that are level with it, as one odd round is enough to be, it returns the ones
// whose medians are apart all the same. The floor is none: it does less than what
// the work asks for.
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
