// Package natslog is a [ginsse.Log] on NATS JetStream: it makes one registry of
// several nodes. What is sent on one node reaches the streams of all, and a client
// that comes back may resume on any.
//
//	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
//	// ...
//	log, err := natslog.Open(ctx, nc, natslog.Config{Replicas: 3})
//	// ...
//	defer log.Close()
//	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log})
//
// # How it works
//
// All events are in one JetStream stream, each subject of the log under a NATS
// subject of its own, and the stream's sequence is the position. Each node has one
// consumer, its tail, which takes in the whole stream in order and keeps what came
// last in memory. Streams read there; none has a consumer, or costs the broker
// anything, however many there are. A reader that was away for longer than the memory
// reaches reads from the broker, from the leader of the stream: a replica may lag, and
// what is missing there would be missed in silence.
//
// What registries tell each other about who is online are core NATS messages, which
// nothing stores.
//
// Append publishes under an id of its own and repeats that, under the same id, until
// it is acknowledged; the broker stores it once. It returns when this node's tail has
// seen the event.
//
// # Promises and their limits
//
//   - Nothing lost, never silent, as [ginsse.Log] says: across a node's restart, a
//     broker's restart, the loss of a leader and partitions. When events left the
//     history by count, age or size, when the stream was purged, recreated or rolled
//     back, readers who missed something get a gap. Some get one who did not: readers
//     from before what is in memory, once the event at their position is gone.
//   - A node without touch to the broker for 2 s serves no events and accepts none; its
//     streams stay open and their positions stand still. [Log.Ready] says so.
//   - An acknowledged event is as safe as the stream: use three replicas. The broker
//     syncs to disk every 2 minutes unless told otherwise, so a power cut of all
//     replicas can take acknowledged events back; readers get a gap then.
//   - What an operator removes singly (one message, or the messages of one subject) is
//     not noticed. Purge the whole stream instead.
//   - Whoever may publish to the stream's subjects can write anything to every stream.
//     Let the broker's permissions allow it to the nodes alone.
//
// The server must be 2.10 or newer; the tests run on 2.12. Start reading with log.go, then tail.go and read.go.
package natslog
