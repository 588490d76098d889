package debug_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/debug"
)

// A user ID may be a part of a long text, such as a cookie. The journal keeps the ID alone.
func TestJournalKeepsNamesAlone(t *testing.T) {
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	var j debug.Journal
	for range debug.MaxEntries {
		cookie := strings.Repeat("x", 8<<10)
		j.AddEntry("stream", cookie[:10], "detail")
	}
	if kept := memory() - before; kept > 4<<20 {
		t.Errorf("%d KB are kept", kept>>10)
	}
	runtime.KeepAlive(&j)
}

// An answer that is too large for a message between nodes would be none, and the page would have no figures.
func TestAnswerIsNotTooLarge(t *testing.T) {
	t.Parallel()
	o := debug.NewPage(debug.Config{Name: "web"}).Observer()
	for i := range 100 {
		o.Refused(ginsse.Refusal{Cause: ginsse.RefusalCause(fmt.Sprint(i, strings.Repeat("\x01", 300)))})
	}
	const most = 48 << 10
	if n := len(o.Answer("ginsse/debug {}")); n == 0 || n > most {
		t.Errorf("%d bytes, want at most %d", n, most)
	}
}
