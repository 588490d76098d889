package report

import (
	"fmt"
	"strings"
)

// Aim is a figure that the kit is meant to reach in a scenario: at most so many times
// that of another contestant.
type Aim struct {
	Measure    int     // index in the scenario's Measures
	Contestant string  // the one that the kit is compared with
	Most       float64 // the kit's figure over that of the contestant
}

// aims says of each aim whether it is met, or "".
func (s Scenario) aims() string {
	var list []string
	for _, aim := range s.Aims {
		list = append(list, aim.text(s))
	}
	if list == nil {
		return ""
	}
	return "Aimed at: " + strings.Join(list, "; ") + "."
}

func (a Aim) text(s Scenario) string {
	m := s.Measures[a.Measure]
	text := fmt.Sprintf("%s at most %s that of %s", m.Name, Ratio(a.Most, 1), a.Contestant)
	kit, found := s.row(func(r Row) bool { return r.Kind == Kit })
	other, compared := s.row(func(r Row) bool { return r.Contestant == a.Contestant })
	switch {
	case !found || !compared:
		return text + ", not measured"
	case !kit.has(a.Measure):
		return text + ", not met, as the kit has not done the work"
	case !other.has(a.Measure):
		return text + ", not compared, as " + a.Contestant + " has not done the work"
	}
	text += ", found " + m.ratio(kit.Median(a.Measure), other.Median(a.Measure))
	switch ours, theirs := kit.figures(a.Measure), other.figures(a.Measure); {
	case kit.Median(a.Measure) <= a.Most*other.Median(a.Measure):
		return text + ", met"
	case ours[0] <= a.Most*theirs[len(theirs)-1]:
		return text + ", not met, though min–max overlap"
	default:
		return text + ", not met"
	}
}

// row returns the first row that is wanted.
func (s Scenario) row(wanted func(Row) bool) (row Row, found bool) {
	for _, row := range s.Rows {
		if wanted(row) {
			return row, true
		}
	}
	return Row{}, false
}
