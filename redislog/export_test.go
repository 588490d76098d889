package redislog

import "github.com/ginsse/ginsse/eventlog"

// AppendEvent and CutEvent write and read a record as Redis has it.
var (
	AppendEvent = appendEvent
	CutEvent    = cutEvent
)

// ParseEntry reads an entry of the stream as Redis returns it.
func ParseEntry(id string, fields ...any) (events []*eventlog.WindowEntry, err error) {
	l := &Log{cfg: Config{Prefix: defaultPrefix}}
	if err := l.cfg.resolve(); err != nil {
		return nil, err
	}
	stored, err := l.parse(1, []any{[]any{id, fields}})
	for _, e := range stored {
		events = append(events, e.WindowEntry)
	}
	return events, err
}
