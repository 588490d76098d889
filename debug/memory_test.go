package debug_test

import (
	"runtime"
	"strings"
	"testing"

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
