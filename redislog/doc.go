// Package redislog is an [eventlog.Log] on Redis Streams, or on Valkey. With it, several nodes serve
// one set of streams: an event that is sent on one node reaches the streams on all of them, and a
// client may resume on any node.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	events, err := redislog.Open(ctx, client, redislog.Config{Logger: slog.Default()})
//	// ...
//	defer events.Close()
//	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: events})
//
// The client may also be one of Sentinel, by redis.NewFailoverClient, or of Redis Cluster, by
// redis.NewClusterClient. The log needs Redis 6.2 or later, or Valkey, with maxmemory-policy noeviction.
//
// # Promises and their limits
//
//   - No silent loss, as [eventlog.Log] says, while the server lives, and when it comes back with its
//     append-only file (appendonly yes). A power cut of the server can lose the last second, unless
//     appendfsync is always. If a node has seen what was lost, all streams get a gap.
//   - A failover can lose events that were acknowledged, because Redis replicates asynchronously. So
//     all streams get a gap after each promotion. With [Config.Wait], Append waits for replicas, and a
//     promotion gives a gap only if a node has seen an event that the new master lacks. WAIT does not
//     choose the replica that is promoted: it may be one without the event. If no node that has seen
//     the event is left then, the event is lost without a gap.
//   - If a promoted server is restarted before any node has looked at it, the log does not notice the
//     promotion. Events that the server lacks are then lost without a gap, unless a node or the client
//     has seen them. So after a failover, have a node running before you restart the new master.
//   - If the log is deleted, evicted or flushed, or its server is restarted without an append-only
//     file, the nodes notice it within 1 s, and all streams get a gap.
//   - A master that has lost contact with its replicas may go on taking events. They are lost when it
//     becomes a replica, and the streams of its nodes get a gap. min-replicas-to-write bounds the time
//     in which it takes events.
//   - A node is partitioned when Redis has not answered for 2 s. It then serves no events and accepts
//     none. Its streams stay open and their positions do not change. [Log.Ready] returns the reason.
//   - There is one order of all events, so one stream on one server. In Redis Cluster all keys of the
//     log are in one slot: a cluster makes the log no faster.
//   - A DedupKey is known for 2 minutes.
//   - The number of events of one subject is not bounded, only age and bytes of all.
//   - What is in the stream and is not an event is not delivered. The log warns about the first.
//   - Who may write to the keys below can write anything to every stream, close streams, and forge
//     presence. Who may read them can read everything.
//
// Here, "all streams get a gap" means that each open stream ends with the event sse.reconnect and the
// reason reauthenticate, because a command to disconnect may be lost too. Its client reconnects, and
// then gets the event sse.gap.
//
// # How it works
//
// The events are in one Redis Stream, numbered without holes. An entry of the stream holds one event,
// or several that were appended at the same time: then Redis, and each node that reads it, has less to
// do for each. The ID of an entry is the number of its last event, and a check, which is a part of the
// positions of its events. The check depends on the one before, and on chance. Each entry also has
// the check of the one before. So a reader that gets the event after its position knows that it has
// missed none, and that the history is the one that it knows. A log that was rolled back and continued
// is noticed at the first event.
//
// Calls of Append that wait at the same time go to Redis as one batch, which a script stores. Redis
// knows the last batch of each node, so a batch that is sent again after a lost answer is stored once.
//
// Each node reads the stream with one connection into an [eventlog.Window]. Streams read from that
// memory. So the load of Redis depends on the number of nodes, not of streams. A position that is
// older than the memory is read from Redis in parts of 256 events, which readers share. There is no
// index by subject: it would cost about six times the memory.
//
// Events that were replaced by their key stay in the stream until they are trimmed, because each may
// be a client's position. Readers do not get them.
//
// The log looks at its state every 400 ms, on the connection that it reads with. The state has an
// epoch, which is lost together with the log, and the replication ID of the server. If that ID
// changes, the server was promoted or restarted. Then the log gets another epoch, unless it came back
// with its append-only file, or Wait says that nothing may be lost.
//
// # Names in Redis
//
// With the default [Config.Prefix], the stream is {ginsse}:log, and the state {ginsse}:state.
// {ginsse}:batch:… is the last batch of a node, {ginsse}:repeat:… an event with a DedupKey, and
// {ginsse}:keys:… has the newest entries of a subject's keys. Delete all of them or none:
// without {ginsse}:keys:…, readers of the newest events do not get those, and no stream gets a gap.
// Messages between nodes are published to channels that begin with {ginsse}: and the number of the
// database.
package redislog
