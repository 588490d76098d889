package main

import (
	"flag"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	flag.Parse()
	_ = flag.Set("test.parallel", "4") // most tests wait, those of the doctor for proxies
	goleak.VerifyTestMain(m)
}
