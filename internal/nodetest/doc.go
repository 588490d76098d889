// Package nodetest tests shared logs with nodes that are processes of their own, which a test can
// kill and freeze.
//
// A test's program starts itself again, as another program: its TestMain calls [Run], and
// [Start] starts the process. A node is such a process. It opens the log and calls [ServeNode]. A
// [Fleet] has three of them, behind a balancer.
//
// [Fleet.Open] opens a [Tab]: a client that notes which events it receives. [Fleet.StartSenders]
// starts [Senders], which have the nodes send events and note which ones were acknowledged. In the
// end [Senders.Verify] compares: no tab may miss an event, or receive one out of order, twice, or
// without being its recipient. [KillNodes] and [FreezeNode] are tests of that kind.
//
// [LiveTopics] does the same with topics that are granted and revoked, states and presence, while nodes
// have a [Fault]. What its pages receive is compared with a database in the test's process.
//
// A [Proxy] is a faulty network between a node and the log's server.
//
// Concurrency: functions and methods that take a testing.TB are called on the test's goroutine. All
// other methods may be called from several goroutines, except those of [Process].
package nodetest
