package natslog

// NATSSubject and MatchesFilter are for tests that publish and answer as other programs do.
var (
	NATSSubject   = natsSubject
	MatchesFilter = matchesFilter
)
