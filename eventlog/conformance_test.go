package eventlog_test

import (
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/logtest"
)

func TestMemoryLogConforms(t *testing.T) {
	t.Parallel()
	logtest.Run(t, logtest.Suite{New: func(t *testing.T, b logtest.Bounds) eventlog.Log {
		return newMemoryLog(t, eventlog.MemoryLogConfig(b))
	}})
}
