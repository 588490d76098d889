package report

import (
	"cmp"
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
