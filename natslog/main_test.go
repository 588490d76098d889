package natslog_test

import (
	"os"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	if text := os.Getenv(processVariable); text != "" {
		serveProcess(text)
		return
	}
	if text := os.Getenv(nodeVariable); text != "" {
		serveNode(text)
		return
	}
	goleak.VerifyTestMain(m)
}
