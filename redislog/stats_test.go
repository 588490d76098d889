package redislog_test

import (
	"testing"

	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

func TestStatsSayHowFarTheTailIsBehind(t *testing.T) {
	t.Parallel()
	nodes := openNodes(t, redistest.Start(t), redislog.Config{}, 2)
	nodetest.StatsOfATailThatHangs(t, nodes[0].log, nodes[1].log)
}

func TestStatsCountReadsOfOlderEvents(t *testing.T) {
	t.Parallel()
	nodetest.StatsOfOlderEvents(t, openNodes(t, redistest.Start(t), redislog.Config{RecentBytes: 1}, 1)[0].log)
}
