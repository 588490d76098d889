//go:build linux

package redislog_test

import (
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/ginsse/ginsse/internal/nodetest"
)

// processVariable makes the test's program a node, with processOptions.
const processVariable = "REDISLOG_TEST_PROCESS"

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	redis.SetLogger(quiet{})
	if nodetest.Run(processVariable, serveProcess) {
		return
	}
	goleak.VerifyTestMain(m)
}
