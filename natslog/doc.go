// Package natslog is an [eventlog.Log] on NATS JetStream. With it, several nodes serve one set of
// streams: an event that is sent on one node reaches the streams on all of them, and a client may
// resume on any node.
//
//	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.FlusherTimeout(2*time.Second))
//	// ...
//	log, err := natslog.Open(ctx, nc, natslog.Config{Replicas: 3}) // 1 on a single server
//	// ...
//	defer log.Close()
//	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log})
//
// The package imports eventlog, not ginsse, so it brings neither gin nor a JWT library.
//
// # Promises and their limits
//
//   - No silent loss, as [eventlog.Log] says: across a restart of a node or of the broker, the loss
//     of a leader, and partitions. When events leave the stream by count, age or size, or when the
//     stream is purged, recreated or rolled back, readers that missed events get a gap. A reader
//     that missed nothing may get a gap if its position is older than the node's memory and the
//     event at the position is gone.
//   - A node is partitioned when it has had no answer from the stream for 2 s, or about 5 s after
//     its server lost the other servers of its cluster. It then serves no events and accepts none.
//     Its streams stay open and their positions do not change. [Log.Ready] returns the reason.
//   - An acknowledged event is as safe as the stream: use three replicas. By default the broker
//     syncs to disk every 2 minutes, so a power cut of all replicas can lose acknowledged events.
//     Readers that had received those get a gap. Readers that had not are not notified.
//   - A DedupKey is known for 2 minutes, or for MaxAge if that is shorter. A server that restarts
//     forgets those of events that have left the stream. [Open] refuses a stream whose setting
//     Duplicates is shorter.
//   - A message in the stream that is not one event in wire form is not delivered. The log warns
//     about the first. If it has a key, it replaces the event of that key.
//   - A message that an operator deletes from the middle of the stream is missing without a gap.
//     Purge the whole stream instead.
//   - A client of the broker that may publish to the subjects below can write anything to every
//     stream, close streams, and forge presence. A client that may subscribe to them can read
//     everything.
//   - The JetStream API gives the same power. A client that may publish to MSG.GET, DIRECT.GET or
//     CONSUMER.CREATE of the stream, or create a stream that mirrors it, can read everything. With
//     PURGE, MSG.DELETE, DELETE or UPDATE a client can destroy the log. Restrict these subjects
//     and $JS.API.> to the nodes by the broker's permissions.
//
// # How it works
//
// All events are in one JetStream stream. Each subject of the log has a NATS subject of its own,
// and so has each key of a subject. The stream's sequence is the position. Each node has one
// consumer, which reads the whole stream in order into an [eventlog.Window]. Streams read from that
// memory. So the broker's load depends on the number of nodes, not of streams.
//
// A position that is older than the memory is read from the broker. A replica may lag, and the
// events that it lacks would be lost silently. So the stream's leader says which event is first,
// any replica may send those after it in one batch, and the leader confirms the last one and what
// follows. A page of 200 events takes 11 requests. Where a replica may be removing events, the page
// takes one request for each event: at positions older than three quarters of MaxAge, and for a
// subject that is about to reach its bound. So it does on servers before NATS 2.11, which send no
// batches.
//
// Events that were replaced stay in the stream, because each may be a client's position. They leave
// it by age, by size, or when their key has more than EventsPerSubject newer ones. They use disk
// until then, and readers do not get them. Only age and the stream's size bound the number of keys.
//
// Where the memory does not reach, one request to any replica gets the newest event of each key: of
// 1,024 keys, and 4 MiB. The replica also has to send the event at the end of the page. That shows
// that it does not lag. If it does, or sends no batches, the leader is asked for each key.
//
// If a sequence is missing when the node reads the stream, its event has left the stream. The
// window then hides what follows, and the node asks how the stream begins. If the stream begins
// before the hole, only a subject or a key over its bound can have lost the event. Readers continue
// when everything up to the end of the stream has arrived, because that shows which subject it was:
// its readers get a gap. For a key, the newest event has arrived, and readers need no other.
// Otherwise, or after 1 s, anything may be missing. The window discards what is before the hole,
// and readers there read from the broker or get a gap.
//
// [Log.Append] publishes under an id of its own, and repeats that under the same id until it is
// acknowledged. The broker stores it once. If the record has a DedupKey, the id is a hash of the
// subject and the DedupKey, so that it is the same on all nodes. Append returns when this node has
// read the event.
//
// [Log.Head] asks the leader for the stream's last sequence and waits until this node has read up
// to there.
//
// Messages between nodes, about the users that are online, are core NATS messages, which are not
// stored.
//
// # Permissions
//
// With the default names, a node publishes to
//
//	ginsse.all  ginsse.all.*  ginsse.user.>  ginsse.topic.>  ginsse.command.>  ginsse.revoke.>  ginsse.run.>
//	ginsse.nodes  ginsse.node.*
//	$JS.API.STREAM.INFO.GINSSE  $JS.API.STREAM.MSG.GET.GINSSE
//	$JS.API.CONSUMER.CREATE.GINSSE.*  $JS.API.CONSUMER.MSG.NEXT.GINSSE.*
//	$JS.API.CONSUMER.INFO.GINSSE.*  $JS.API.CONSUMER.DELETE.GINSSE.*
//	$JS.API.DIRECT.GET.GINSSE
//
// The last one is for batches. Without it, older events and keys are read one by one, and one read
// a minute takes 1 s longer. A node subscribes to
//
//	_INBOX.>  ginsse.nodes  ginsse.node.*
//
// A node receives its events in its inbox, so no other client should be able to subscribe to it.
// Give the nodes an account of their own, or use [nats.CustomInboxPrefix].
//
// The node that creates the stream also publishes to $JS.API.STREAM.CREATE.GINSSE. Credentials and
// TLS are options of the nats.Conn.
//
// # Versions
//
// A stream of v0.1.0 has no NATS subjects for keys, revocations and runs. The first node of a newer
// version adds them, and the events stay where they are. For this the node also publishes to
// $JS.API.STREAM.UPDATE.GINSSE. An operator can add the subjects before:
//
//	nats stream edit GINSSE --subjects 'ginsse.all,ginsse.all.*,ginsse.user.>,ginsse.topic.>,ginsse.command.>,ginsse.revoke.>,ginsse.run.>'
//
// Nodes of v0.1.0 that are running continue to run. They skip events with a key, revocations and runs,
// and they cannot open the stream again. So deploy all nodes before the application uses these.
//
// The server must be 2.10 or newer. The tests were run on 2.10.29, 2.11.17 and 2.12.15, those with
// clusters on 2.12.15, with nats.go 1.53.
package natslog
