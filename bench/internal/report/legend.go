package report

import "strings"

// The headings of what is said once.
const (
	settings  = "Contestants and their settings"
	howToRead = "How to read the tables"
)

// legend explains what the tables of all scenarios have in common.
var legend = []string{
	"Figures are medians over the rounds, with three significant digits; min–max is the least and the greatest of the rounds. " +
		"The first measure decides who is best in a table. A measure that is a ratio is the median of the rounds' ratios.",
	"A ~ stands before that figure if something else on the machine used the processor noticeably while it was taken, in one " +
		"of the rounds or more.",
	"≈0 is a figure that is too small to be told from noise. A ratio with it is a bound, such as <0.02×.",
	"Two contestants are level if " + level + ". Another run may have them the other way round; a wide min–max makes level with more.",
	"The best competitor that has done the work is bold, and so are those that are level with it.",
	`"To floor", "to best alternative" and "to best peer" say how many times the figure of that reference a figure is: 2.0× is ` +
		"twice as much, whichever way is good. An alternative is what one would use instead of the kit, a library or code written " +
		"by hand; a peer is a library.",
	"The clients are one process on the same machine. Where their CPU is near 100 % of a core, a rate is theirs rather than the " +
		"server's: compare the server CPU per event. A latency includes the time that the clients take to read the other sockets first: " +
		"with thousands of streams that is most of it, and the same for all.",
	"The floor does only what must be done: it has no queues, no HTTP library and no goroutine per stream, so it is a reference " +
		"rather than a competitor; where a stalled or slow client matters it would stop.",
	"A contestant that has not done the work, be it in one round, has no ratio and no rank, and the last column says why.",
}

// level is how [Measure.level] decides.
const level = "their min–max overlap, or both figures are ≈0, or, where one of them has a single round, the figures are within 3 %"

// whatIsListed goes before the list of defeats.
const whatIsListed = "Listed is each contestant, written by hand or a library, that has done the work and has a better figure than " +
	"the kit, by any measure but those for information only. Two are level if " + level + "; then they are listed, and " +
	"marked, if their medians are more than 3 % apart. Ratios say how many times the kit's figure."

// caption says which way is good, and who is best.
func (s Scenario) caption() string {
	var less, more, aside []string
	for _, m := range s.Measures {
		switch {
		case m.Aside:
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

// alternatives names what one would use instead of the kit: the best of all, and the
// best library if that is another.
func (s Scenario) alternatives() string {
	kit, _ := s.best(Kit)
	times := func(r Row) string {
		if ratio := s.first().ratio(r.Median(0), kit.Median(0)); ratio != none {
			return r.Contestant + " (" + ratio + " the kit's figure)"
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
