package natslog_test

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/natslog"
)

func TestStatsSayHowFarTheTailIsBehind(t *testing.T) {
	t.Parallel()
	url := startServer(t, server.RANDOM_PORT, t.TempDir()).ClientURL()
	nodetest.StatsOfATailThatHangs(t, open(t, connect(t, url), natslog.Config{}), open(t, connect(t, url), natslog.Config{}))
}

func TestStatsCountReadsOfOlderEvents(t *testing.T) {
	t.Parallel()
	url := startServer(t, server.RANDOM_PORT, t.TempDir()).ClientURL()
	nodetest.StatsOfOlderEvents(t, open(t, connect(t, url), natslog.Config{RecentBytes: 1}))
}
