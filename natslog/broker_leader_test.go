package natslog

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestLeaderWithoutAMajorityIsNone has a server answer as one does that is partitioned from others.
func TestLeaderWithoutAMajorityIsNone(t *testing.T) {
	t.Parallel()
	var (
		live   = &jetstream.PeerInfo{Current: true, Active: time.Second}
		lags   = &jetstream.PeerInfo{Active: time.Millisecond}
		now    = &jetstream.PeerInfo{Current: true} // its message arrived with the request
		silent = &jetstream.PeerInfo{Current: true, Active: 3 * time.Second}
		never  = &jetstream.PeerInfo{} // the leader never had a message of it
		down   = &jetstream.PeerInfo{Offline: true, Current: true, Active: time.Second}
	)
	for name, test := range map[string]struct {
		cluster *jetstream.ClusterInfo
		ok      bool
	}{
		"no_cluster":                {nil, true},
		"one_server":                {&jetstream.ClusterInfo{Leader: "s"}, true},
		"no_leader":                 {&jetstream.ClusterInfo{Replicas: []*jetstream.PeerInfo{live, live}}, false},
		"all_live":                  {&jetstream.ClusterInfo{Leader: "s", Replicas: []*jetstream.PeerInfo{live, live}}, true},
		"one_lags_one_silent":       {&jetstream.ClusterInfo{Leader: "s", Replicas: []*jetstream.PeerInfo{lags, silent}}, true},
		"one_now_one_down":          {&jetstream.ClusterInfo{Leader: "s", Replicas: []*jetstream.PeerInfo{now, down}}, true},
		"both_silent":               {&jetstream.ClusterInfo{Leader: "s", Replicas: []*jetstream.PeerInfo{silent, silent}}, false},
		"one_silent_one_never_seen": {&jetstream.ClusterInfo{Leader: "s", Replicas: []*jetstream.PeerInfo{silent, never}}, false},
		"one_down_one_never_seen":   {&jetstream.ClusterInfo{Leader: "s", Replicas: []*jetstream.PeerInfo{down, never}}, false},
		"half_of_four":              {&jetstream.ClusterInfo{Leader: "s", Replicas: []*jetstream.PeerInfo{live, silent, silent}}, false},
		"three_of_five":             {&jetstream.ClusterInfo{Leader: "s", Replicas: []*jetstream.PeerInfo{live, live, silent, never}}, true},
	} {
		if err := checkLeader(test.cluster); errors.Is(err, errNoLeader) == test.ok {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
