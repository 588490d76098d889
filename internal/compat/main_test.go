package compat_test

import (
	"flag"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	// rapid's own default is 100 runs. A plan takes about 5 ms, or 20 ms with -race, and some
	// faults show in one of a hundred plans. -rapid.checks on the command line overrides this.
	if err := flag.Set("rapid.checks", "300"); err != nil {
		panic(err)
	}
	// Most tests wait.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/alexedwards/scs/v2/memstore.(*MemStore).startCleanup")) // of newManager
}
