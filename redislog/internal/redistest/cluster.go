//go:build linux

package redistest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

const (
	masters = 3
	slots   = 16384
)

// Cluster is a Redis Cluster of three masters. Each may have a replica.
type Cluster struct {
	// Masters are the servers that have begun as masters, with a third of the slots each.
	Masters []*Server
	// Replicas has the replica of each master at its index. It is empty without replicas.
	Replicas []*Server
}

// StartCluster starts a cluster with settings for each server. It returns when all slots can be used
// and each replica has the contents of its master.
func StartCluster(t testing.TB, replicas bool, settings ...string) *Cluster {
	t.Helper()
	return StartClusterProgram(t, Redis, replicas, settings...)
}

// StartClusterProgram is StartCluster with servers of a program, [Redis] or [Valkey].
func StartClusterProgram(t testing.TB, program string, replicas bool, settings ...string) *Cluster {
	t.Helper()
	c := new(Cluster)
	start := func() *Server {
		return StartProgram(t, program, append([]string{
			"cluster-enabled yes", fmt.Sprint("cluster-port ", freePort(t)),
			"cluster-node-timeout 3000",         // a busy machine may keep a server waiting for a while
			"cluster-replica-validity-factor 0", // a replica that was held back may be promoted
			"cluster-allow-replica-migration no",
		}, settings...)...)
	}
	for range masters {
		c.Masters = append(c.Masters, start())
	}
	if replicas {
		for range masters {
			c.Replicas = append(c.Replicas, start())
		}
	}
	for i, s := range c.Masters {
		s.do(t, "CLUSTER", "ADDSLOTSRANGE", i*slots/masters, (i+1)*slots/masters-1)
		s.do(t, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	for _, s := range c.all()[1:] {
		s.do(t, "CLUSTER", "MEET", "127.0.0.1", c.Masters[0].port, c.Masters[0].busPort(t))
	}
	for _, s := range c.all() {
		until(t, "all servers at each", func() bool { return s.clusterInfo(t, "cluster_known_nodes") == fmt.Sprint(len(c.all())) })
	}
	for i, s := range c.Replicas {
		id := c.Masters[i].do(t, "CLUSTER", "MYID").Val()
		until(t, "a replica that knows its master", func() bool { return s.try(t, "CLUSTER", "REPLICATE", id).Err() == nil })
	}
	for _, s := range c.Replicas {
		s.AwaitLink(t)
	}
	c.awaitSlots(t)
	return c
}

// awaitSlots waits until each server says that all slots can be used, and who has them and a copy.
func (c *Cluster) awaitSlots(t testing.TB) {
	t.Helper()
	servers := 1
	if len(c.Replicas) > 0 {
		servers++
	}
	for _, s := range c.all() {
		until(t, "the slots", func() bool {
			list, err := s.try(t, "CLUSTER", "SLOTS").Slice()
			if err != nil || len(list) != masters || s.clusterInfo(t, "cluster_state") != "ok" {
				return false
			}
			for _, slot := range list { // first, last, and an entry for each server
				if len(slot.([]any)) != 2+servers { //nolint:forcetypeassert // as the command documents
					return false
				}
			}
			return true
		})
	}
}

func (c *Cluster) all() []*Server {
	return append(append([]*Server(nil), c.Masters...), c.Replicas...)
}

// busPort returns the port on which the server talks to others of its cluster.
func (s *Server) busPort(t testing.TB) string {
	t.Helper()
	return fieldsOf(s.do(t, "CONFIG", "GET", "cluster-port").Val())["cluster-port"]
}

// clusterInfo returns a field of CLUSTER INFO; "" if the server does not answer.
func (s *Server) clusterInfo(t testing.TB, field string) string {
	t.Helper()
	text, _ := s.try(t, "CLUSTER", "INFO").Text()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			return value
		}
	}
	return ""
}

// Addrs returns the addresses of all servers.
func (c *Cluster) Addrs() (addrs []string) {
	for _, s := range c.all() {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// Client returns a client of the cluster. It is closed with the test.
func (c *Cluster) Client(t testing.TB) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), Password: c.Masters[0].password})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Owner returns the index of the master that has begun with the slot of a key.
func (c *Cluster) Owner(t testing.TB, key string) int {
	t.Helper()
	slot := slotOf(key)
	for i := range c.Masters {
		if slot < (i+1)*slots/masters {
			return i
		}
	}
	t.Fatalf("no master has slot %d", slot)
	return 0
}

// slotOf returns the slot of a key.
func slotOf(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16 // CRC-16/XMODEM, as the specification of Redis Cluster says
	for _, b := range []byte(key) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}

// MoveSlot moves the slot of a key from one master to another, as redis-cli does: the keys of the slot
// one by one, while clients use them.
func (c *Cluster) MoveSlot(t testing.TB, key string, from, to int) {
	t.Helper()
	slot, source, target := slotOf(key), c.Masters[from], c.Masters[to]
	var ids [masters]any
	for i, s := range c.Masters {
		ids[i] = s.do(t, "CLUSTER", "MYID").Val()
	}
	target.do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[from])
	source.do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
	until(t, "no keys in the slot", func() bool {
		keys, err := source.do(t, "CLUSTER", "GETKEYSINSLOT", slot, 1).StringSlice()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			source.do(t, "MIGRATE", "127.0.0.1", target.port, key, 0, patience.Milliseconds())
		}
		return len(keys) == 0
	})
	for _, s := range []*Server{target, source} {
		s.do(t, "CLUSTER", "SETSLOT", slot, "NODE", ids[to])
	}
	for i, s := range c.Masters {
		if i != from && i != to {
			s.do(t, "CLUSTER", "SETSLOT", slot, "NODE", ids[to])
		}
	}
}

// AwaitFailover waits until the replica with an index is a master, and all other servers know it.
func (c *Cluster) AwaitFailover(t testing.TB, index int) {
	t.Helper()
	s := c.Replicas[index]
	until(t, "the replica to be promoted", func() bool { return s.Info(t, "role") == "master" })
	for _, other := range c.all() {
		if other == c.Masters[index] {
			continue
		}
		until(t, "the slots after the failover", func() bool {
			list, err := other.try(t, "CLUSTER", "SLOTS").Slice()
			return err == nil && other.clusterInfo(t, "cluster_state") == "ok" &&
				strings.Contains(fmt.Sprint(list), fmt.Sprint(" [127.0.0.1 ", s.port, " "))
		})
	}
}
