//go:build linux

package redistest

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
)

// masterName is the name of the master that Sentinels watch.
const masterName = "master"

// Sentinels are three Sentinels that watch a master. Two of them have to agree that it is down, which
// takes three seconds without an answer: a busy machine may keep a server waiting for a while.
type Sentinels struct {
	servers  [3]*Server
	password string // of the master
}

// StartSentinels starts three Sentinels, and returns when each knows the others and all replicas of
// the master. If the servers have a password, it is the same for all, and each has it as its masterauth
// too.
func StartSentinels(t testing.TB, master *Server, replicas int) *Sentinels {
	t.Helper()
	w := &Sentinels{password: master.password}
	for i := range w.servers {
		s := newServer(t, master.program)
		text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\n", s.port, s.dir) +
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2\n", masterName, master.port) +
			fmt.Sprintf("sentinel down-after-milliseconds %s 3000\n", masterName) +
			fmt.Sprintf("sentinel failover-timeout %s 3000\n", masterName)
		if w.password != "" {
			text += fmt.Sprintf("sentinel auth-pass %s %s\n", masterName, w.password)
		}
		s.configure(t, text)
		s.start(t, "--sentinel")
		w.servers[i] = s
	}
	for _, s := range w.servers {
		until(t, "a Sentinel that knows all", func() bool {
			state, err := s.try(t, "SENTINEL", "MASTER", masterName).Result()
			fields := fieldsOf(state)
			return err == nil && fields["num-other-sentinels"] == fmt.Sprint(len(w.servers)-1) &&
				fields["num-slaves"] == fmt.Sprint(replicas)
		})
	}
	return w
}

// fieldsOf returns the fields of an answer, whichever version of the protocol it came with.
func fieldsOf(answer any) map[string]string {
	fields := make(map[string]string)
	switch answer := answer.(type) {
	case map[any]any:
		for name, value := range answer {
			fields[fmt.Sprint(name)] = fmt.Sprint(value)
		}
	case []any:
		for i := 0; i+1 < len(answer); i += 2 {
			fields[fmt.Sprint(answer[i])] = fmt.Sprint(answer[i+1])
		}
	}
	return fields
}

// Addrs returns the addresses of the Sentinels.
func (w *Sentinels) Addrs() (addrs []string) {
	for _, s := range w.servers {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// MasterName returns the name of the master, as a client has to give it.
func (w *Sentinels) MasterName() string { return masterName }

// Client returns a client of the current master. It is closed with the test.
func (w *Sentinels) Client(t testing.TB) *redis.Client {
	t.Helper()
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: masterName, SentinelAddrs: w.Addrs(), Password: w.password,
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// AwaitMaster waits until all Sentinels say that a server is the master.
func (w *Sentinels) AwaitMaster(t testing.TB, master *Server) {
	t.Helper()
	for _, s := range w.servers {
		until(t, "another master", func() bool {
			state, err := s.try(t, "SENTINEL", "MASTER", masterName).Result()
			return err == nil && fieldsOf(state)["port"] == fmt.Sprint(master.port) && master.Info(t, "role") == "master"
		})
	}
}
