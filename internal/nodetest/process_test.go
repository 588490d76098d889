package nodetest_test

import (
	"bufio"
	"testing"

	"github.com/ginsse/ginsse/internal/nodetest"
)

func TestProcessRunsWithItsOptionsUntilItIsKilled(t *testing.T) {
	t.Parallel()
	p := nodetest.Start(t, variable, options{Out: "one", Err: "two"})
	out := bufio.NewReader(p.Stdout)
	if line, err := out.ReadString('\n'); err != nil || line != "one\n" {
		t.Errorf("standard output: %q, %v", line, err)
	}
	for range 2 {
		if text := p.Kill(); text != "two\n" {
			t.Errorf("standard error: %q", text)
		}
	}
}
