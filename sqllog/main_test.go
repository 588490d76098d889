package sqllog_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/ginsse/ginsse/internal/nodetest"
)

func TestMain(m *testing.M) {
	if nodetest.Run(processVariable, serveProcess) {
		return
	}
	code := m.Run()
	stopShared()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
