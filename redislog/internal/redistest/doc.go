// Package redistest starts Redis servers for tests, which a test can kill, freeze and promote. Each
// is a process of its own, on loopback, with a temporary directory.
//
// [Start] starts one server. [Server.Follow] makes it the replica of another one. [StartSentinels]
// has three Sentinels watch a server and its replicas, and [StartCluster] starts a Redis Cluster.
//
// The tests need Debian's package redis-server. Without it they are skipped, or fail if the environment
// variable SERVER_TESTS is "required". The package is empty on other systems than Linux.
//
// All processes end with the test, also if its process is killed.
//
// Concurrency: functions and methods that take a testing.TB are called on the test's goroutine.
package redistest
