package nodetest_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/ginsse/ginsse/internal/nodetest"
)

// variable makes the test's program another one, which writes two lines and waits.
const variable = "NODETEST_TEST_PROCESS"

type options struct{ Out, Err string }

func TestMain(m *testing.M) {
	ran := nodetest.Run(variable, func(o options) error {
		fmt.Fprintln(os.Stderr, o.Err)
		fmt.Println(o.Out)
		return nil
	})
	if !ran {
		goleak.VerifyTestMain(m)
	}
}
