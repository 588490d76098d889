package natslog_test

import (
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/ginsse/ginsse/internal/nodetest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	if nodetest.Run(processVariable, serveProcess) || nodetest.Run(nodeVariable, serveNode) {
		return
	}
	goleak.VerifyTestMain(m)
}
