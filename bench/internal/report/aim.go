package report

import (
	"fmt"
	"strings"
)

// Aim is a figure that the kit is meant to reach in a scenario.
type Aim struct {
	Kit     string // the kit's contestant that is meant; "" is the first one
	Measure int    // index in the scenario's Measures
	// Contestant is the one that the kit is compared with, or [BestPeer]. With "" the bound is
	// for the figure itself.
	Contestant string
	// Most and Least bound the kit's figure over that of the contestant, or the figure itself.
	// One of them is set.
	Most, Least float64
}

// BestPeer is the library with the best figure for the measure of an aim.
const BestPeer = "the best library"

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
	text := a.what(m)
	kit, found := s.row(func(r Row) bool { return r.Kind == Kit && (a.Kit == "" || r.Contestant == a.Kit) })
	other, compared := a.other(s)
	switch {
	case !found || !compared:
		return text + ", not measured"
	case !kit.has(a.Measure):
		return text + ", not met, as " + kit.Contestant + " has not done the work"
	case !other.has(a.Measure):
		return text + ", not compared, as " + a.Contestant + " has not done the work"
	}
	ours, theirs := kit.figures(a.Measure), other.figures(a.Measure)
	near := a.met(ours[0], theirs[len(theirs)-1]) || a.met(ours[len(ours)-1], theirs[0])
	text += ", found " + a.found(m, kit, other)
	switch {
	case a.met(median(ours), median(theirs)):
		return text + ", met"
	case near && a.Contestant == "":
		return text + ", not met, though in some rounds"
	case near:
		return text + ", not met, though min–max overlap"
	default:
		return text + ", not met"
	}
}

func (a Aim) found(m Measure, kit, other Row) string {
	ratio := m.ratio(kit.Median(a.Measure), other.Median(a.Measure))
	switch a.Contestant {
	case "":
		return m.withUnit(m.figure(kit.Median(a.Measure)))
	case BestPeer:
		return ratio + " that of " + other.Contestant
	default:
		return ratio
	}
}

// what says what is aimed at: "CPU per event at most 1.50× that of hand".
func (a Aim) what(m Measure) string {
	sign, limit := "at most", a.Most
	if a.Least > 0 {
		sign, limit = "at least", a.Least
	}
	text := fmt.Sprintf("%s %s %s", m.Name, sign, m.withUnit(Figure(limit)))
	if a.Contestant != "" {
		text = fmt.Sprintf("%s %s %s that of %s", m.Name, sign, Ratio(limit, 1), a.Contestant)
	}
	if a.Kit != "" {
		text = a.Kit + ": " + text
	}
	return text
}

// met reports whether a figure of the kit reaches the aim beside one of the contestant.
func (a Aim) met(kit, other float64) bool {
	if a.Least > 0 {
		return kit >= a.Least*other
	}
	return kit <= a.Most*other
}

// other returns the row that the kit is compared with. If the bound is for the figure itself,
// the row has the figure 1.
func (a Aim) other(s Scenario) (other Row, found bool) {
	switch a.Contestant {
	case "":
		other.Values = make([][]float64, len(s.Measures))
		other.Values[a.Measure] = []float64{1}
		return other, true
	case BestPeer:
		for _, row := range s.Rows {
			if row.Kind != Peer {
				continue
			}
			best := row.has(a.Measure) && s.Measures[a.Measure].better(row.Median(a.Measure), other.Median(a.Measure))
			if best || !other.has(a.Measure) {
				other, found = row, true
			}
		}
		return other, found
	default:
		return s.row(func(r Row) bool { return r.Contestant == a.Contestant })
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
