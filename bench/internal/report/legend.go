package report

import "strings"

// Headings of a report.
const (
	settings  = "Contestants and their settings"
	howToRead = "How to read the tables"
)

// legend explains what all tables have in common.
var legend = []string{
	"Figures are medians over the rounds, with three significant digits. Min–max is the lowest and the highest of the rounds. " +
		"The first measure decides which contestant is best in a table. A measure that is a ratio is the median of the rounds' ratios.",
	"A ~ before that figure means that something else on the machine used much of the processor in at least one of the rounds.",
	"≈0 is a figure too small to tell from noise. A ratio to it is a bound, such as <0.02×.",
	"Two contestants are level if " + level + ". In another run their order may be reversed. A wide min–max is level with more contestants.",
	"The best competitor that has done the work is bold, and so are those level with it.",
	`"To floor", "to best alternative" and "to best peer" are the figure divided by that of the reference: 2.0× is twice as much, ` +
		"whether more or less is better. An alternative is a library, or code written by hand, that one would use instead of the kit. " +
		"A peer is a library.",
	"The clients are one process on the same machine. If their CPU is near 100 % of a core, they limit the rate, not the server: " +
		"compare the server CPU per event. A latency includes the time in which the clients read other sockets first. " +
		"With thousands of streams that is most of it, and the same for all contestants.",
	"The floor does only what must be done. It has no queues, no HTTP library and no goroutine per stream, so it is a reference " +
		"and not a competitor. A stalled or slow client would stop it.",
	"A contestant that fails in any round has no ratio and no rank. The last column says why.",
}

// level describes [Measure.level].
const level = "their min–max overlap, if both figures are ≈0, or, when one of them has a single round, if the figures are within 3 %"

// whatIsListed introduces the list of defeats.
const whatIsListed = "The list has each library, and each contestant written by hand, that has done the work and has a better figure " +
	"than the kit. It covers all measures but those for information only. Two contestants are level if " + level + ". A contestant " +
	"that is level is listed, and marked, if the medians are more than 3 % apart. Ratios are to the kit's figure."

// caption says whether less or more is better, which alternative is best, and which aims are met.
func (s Scenario) caption() string {
	var less, more, aside []string
	for _, m := range s.Measures {
		switch {
		case m.InfoOnly:
			aside = append(aside, m.Name)
		case m.More:
			more = append(more, m.Name)
		default:
			less = append(less, m.Name)
		}
	}
	var b strings.Builder
	say := func(what string, measures []string) {
		if measures != nil {
			b.WriteString(what + ": " + strings.Join(measures, ", ") + ". ")
		}
	}
	say("Less is better", less)
	say("More is better", more)
	say("For information only", aside)
	b.WriteString(s.alternatives())
	if _, ok := s.best(Floor); !ok {
		b.WriteString(" There is no floor to compare with.")
	}
	if aims := s.aims(); aims != "" {
		b.WriteString(" " + aims)
	}
	return b.String()
}

// alternatives names the best alternative to the kit, and the best library if that is
// another contestant.
func (s Scenario) alternatives() string {
	times := func(r Row) string {
		if ratios := s.toKit(r); ratios != "" {
			return r.Contestant + " (" + ratios + ")"
		}
		return r.Contestant
	}
	best, found := s.best(Hand, Peer)
	peer, another := s.best(Peer)
	switch {
	case !found:
		return "There is no alternative to compare with."
	case best.Kind == Peer:
		return "The best alternative is a peer, " + times(best) + "."
	case another:
		return "The best alternative is " + times(best) + ", the best peer " + times(peer) + "."
	default:
		return "The best alternative is " + times(best) + "; there is no peer to compare with."
	}
}

// toKit formats the ratio of a row's figure to that of the kit, or "". If several contestants
// are the kit, it names them.
func (s Scenario) toKit(r Row) string {
	var kits []Row
	for _, row := range s.Rows {
		if row.Kind == Kit {
			kits = append(kits, row)
		}
	}
	var ratios []string
	for _, kit := range kits {
		ratio := s.first().ratio(r.Median(0), kit.Median(0))
		switch {
		case !kit.done(), ratio == none:
		case len(kits) == 1:
			return ratio + " the kit's figure"
		default:
			ratios = append(ratios, ratio+" that of "+kit.Contestant)
		}
	}
	return strings.Join(ratios, ", ")
}
