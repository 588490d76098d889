package natslog_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(processVariable); text != "" {
		serveProcess(text)
		return
	}
	goleak.VerifyTestMain(m)
}
