package report

import (
	"cmp"
	"slices"
)

// section is what one heading has: a scenario, or a group of scenarios.
type section struct {
	name      string // of the scenario or of the group
	scenarios []Scenario
}

// sections returns the sections in the order of the report. A group has the place of its
// first scenario, and is sorted by size.
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

// size formats the size of a scenario in a group: "1,000 streams". Without a group it is "".
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

// heading is the title, with the size if the scenario is in a group.
func (s Scenario) heading() string {
	if size := s.size(); size != "" {
		return s.Title + ", " + size
	}
	return s.Title
}
