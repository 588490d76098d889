// Package natslog is a [ginsse.Log] on NATS JetStream: it makes one registry of
// several nodes. What is sent on one node reaches the streams of all, and a client
// that comes back may resume on any.
//
//	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.FlusherTimeout(2*time.Second))
//	// ...
//	log, err := natslog.Open(ctx, nc, natslog.Config{Replicas: 3}) // 1 on a single server
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
// reaches reads from the broker. A replica may lag, and what is missing there would be
// missed in silence: so the leader of the stream says which event is first, any replica may
// send those behind it in one batch, and the leader confirms the last and says what follows.
// A page of 200 events takes 9 requests. It takes one for each event where a replica may be
// removing events: at positions older than three quarters of MaxAge, and of a subject that
// is about to reach its bound; and on servers before NATS 2.11, which send no batches.
//
// The tail goes by the stream's numbers. When one is missing, that event had left the
// stream before it came here. The tail shows readers nothing behind the hole and asks how
// the stream begins. If it begins before the hole, only a subject over its own bound can
// have lost the event, and readers go on once all up to the stream's end has come, which
// shows whose it was: those have a gap. Else, and if that takes longer than a second,
// anything may be missing: the tail forgets what is before the hole, and readers from there
// read from the broker, or get a gap.
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
//   - A node without touch to the broker for 2 s, or whose server is cut off from the
//     others of its cluster for about 5 s, serves no events and accepts none; its streams
//     stay open and their positions stand still. [Log.Ready] says so.
//   - An acknowledged event is as safe as the stream: use three replicas. The broker
//     syncs to disk every 2 minutes unless told otherwise, so a power cut of all
//     replicas can take acknowledged events back. Readers who had got to them get a gap;
//     who was behind does not hear of them.
//   - A message in the stream that is not one event in wire form, lines of which the last is
//     blank and no other, is not delivered. The log warns once.
//   - What an operator removes singly (one message, or the messages of one subject) is
//     not noticed. Purge the whole stream instead.
//   - Whoever may publish to the subjects below can write anything to every stream, end
//     it, and say who is online; whoever may subscribe to them can read all. Let the
//     broker's permissions allow it to the nodes alone.
//
// # Permissions
//
// With the default names, a node publishes to
//
//	ginsse.all  ginsse.control  ginsse.user.*  ginsse.topic.*  ginsse.nodes  ginsse.node.*
//	$JS.API.STREAM.INFO.GINSSE  $JS.API.STREAM.MSG.GET.GINSSE
//	$JS.API.CONSUMER.CREATE.GINSSE.*  $JS.API.CONSUMER.MSG.NEXT.GINSSE.*
//	$JS.API.CONSUMER.INFO.GINSSE.*  $JS.API.CONSUMER.DELETE.GINSSE.*
//	$JS.API.DIRECT.GET.GINSSE
//
// where the last is for batches: without it old events are read one by one, and a read a
// minute waits 1 s more. It subscribes to
//
//	_INBOX.>  ginsse.nodes  ginsse.node.*
//
// Events come to a node in its inbox: nobody else should be able to subscribe to it. An
// account of their own for the nodes sees to that, or [nats.CustomInboxPrefix].
//
// Whoever creates the stream also publishes to $JS.API.STREAM.CREATE.GINSSE. Credentials and
// TLS are the caller's: options of the nats.Conn.
//
// The server must be 2.10 or newer: the tests have been run on 2.10.29, 2.11.17 and 2.12.15, those on
// clusters on the last. With nats.go 1.53. Start
// reading with log.go, then tail.go, intake.go and recent.go, then read.go and past.go.
package natslog
