package debug

import (
	"strings"
	"sync"
	"time"
	"unicode"
)

// entry is something that has happened to a stream, or to a request for one.
type entry struct {
	At     time.Time `json:"at"`
	Stream string    `json:"stream,omitempty"` // its ID; "" for a refusal
	User   string    `json:"user,omitempty"`
	What   string    `json:"what"`
	Detail string    `json:"detail,omitempty"`
	Node   string    `json:"node,omitempty"` // set by the node that shows it
}

const (
	// maxEntries is how many entries a node keeps. They take 1 MB, and 3 MB if all names are as long as
	// they may be.
	maxEntries = 4096
	// maxDetail bounds the text of an entry in bytes.
	maxDetail = 200
	// maxShown is how many entries the page shows.
	maxShown = 60
	// maxAnswerEntries bounds the texts of the entries in an answer, in bytes. JSON may make them twice
	// as long.
	maxAnswerEntries = 6 << 10
)

// journal keeps the newest entries.
//
// Concurrency: all methods may be called from several goroutines.
type journal struct {
	mu      sync.Mutex // guards the fields below
	entries []entry    // a ring once it has maxEntries
	next    int        // where the next entry goes in the ring
}

func (j *journal) add(e entry) {
	e.At, e.Detail = time.Now().Round(0), clip(e.Detail, maxDetail)
	e.User = strings.Clone(e.User) // it may be a part of a long header, which would stay in memory
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.entries) < maxEntries {
		j.entries = append(j.entries, e)
		return
	}
	j.entries[j.next] = e
	j.next = (j.next + 1) % maxEntries
}

// find returns the newest entries of a stream or a user, or of all, the newest first.
func (j *journal) find(stream, user string) (found []entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	size := 0
	for i := range j.entries {
		e := j.entries[(j.next+len(j.entries)-1-i)%len(j.entries)]
		if stream != "" && e.Stream != stream || user != "" && e.User != user {
			continue
		}
		size += len(e.Stream) + len(e.User) + len(e.Detail)
		if len(found) == maxShown || size > maxAnswerEntries {
			break
		}
		found = append(found, e)
	}
	return found
}

// clip shortens a text. Control characters become spaces: in JSON each would take six bytes.
func clip(text string, maxBytes int) string {
	end := ""
	if len(text) > maxBytes {
		text, end = text[:maxBytes], "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "")) + end
}
