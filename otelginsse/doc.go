// Package otelginsse makes OpenTelemetry spans and metrics of a [ginsse.Registry]. One trace leads from
// the request that sends an event to the streams that deliver it, on all nodes.
//
//	telemetry, err := otelginsse.New(otelginsse.Config{})
//	// ...
//	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
//		Log:       log,
//		Observers: []*ginsse.Observer{telemetry.Observer()},
//	})
//	// ...
//	err = telemetry.Watch(registry)
//
// # Spans
//
// A send is a span of kind producer, such as "send user". It is a child of the span in the context of
// [ginsse.Registry.SendTo] and the other methods that send an event, for example that of the middleware
// otelgin. So pass them the request's context, or one that is made from it. The log gets the context of
// the span: spans of an instrumented database are its children.
//
// A delivery is a span of kind consumer, such as "deliver user": from the log's time to the write on the
// connection. It is a child of the send, so that both are in one trace, and also linked to it, because
// tools that follow the conventions look for the link. A delivery that comes more than a minute late, to
// a client that was away, takes no time in the trace: it is at the time of the write, and the attribute
// ginsse.delay has the seconds since the send.
//
// The trace of a send that is not sampled does not go through the log, and has no deliveries. Of one
// event, a node makes spans for [Config.MaxDeliveries] deliveries.
//
// A stream has no span, because it may be open for days. Neither have runs, states, presence,
// commands, and what [ginsse.Stream.Send] sends.
//
// Spans follow the semantic conventions for messaging. No attribute has a user ID, a topic, an error's
// text or the content of an event, except for [Config.UserIDs]:
//
//	messaging.system                  "ginsse"
//	messaging.operation.name          "send" or "deliver"
//	messaging.operation.type          "send" or "process"
//	messaging.destination.template    "user", "topic" or "all"
//	messaging.message.id              the ID of the event; not of one that is transient, goes to several
//	                                  users, or is sent in a transaction
//	messaging.batch.message_count     of a send to several users: how many
//	error.type                        of a send that failed: "canceled", "timeout", "invalid_event",
//	                                  "event_too_large", "closed" or "_OTHER"
//	ginsse.event.type                 of a send: the type of the event
//	ginsse.streams                    of a send: the streams of this node that read the event's subject
//	ginsse.delay                      of a delivery that is late: seconds since the send
//
// # Metrics
//
//	ginsse.stream.count               live streams on this node
//	ginsse.stream.lag.max             events that wait for the client of the slowest stream
//	ginsse.stream.opened              by ginsse.resume: see [ginsse.Resume]
//	ginsse.stream.ended               by ginsse.reason; reasons of the application are "application"
//	ginsse.stream.refused             by ginsse.cause: see [ginsse.RefusalCause]
//	ginsse.stream.gaps                by ginsse.reason
//	ginsse.user.count                 users with a live stream on this node
//	ginsse.event.written              events that streams have written
//	ginsse.event.append.duration      seconds until the log had an event or a command, by ginsse.kind,
//	                                  and error.type "_OTHER" if it has not taken it
//	ginsse.event.delivery.duration    seconds from the log's time to the write, of the oldest event that
//	                                  a stream has written at one time
//	ginsse.writing.streams            streams whose write waits for the client, or is in progress
//	ginsse.unsent                     bytes that streams hold for their clients
//	ginsse.writer.queue.streams       compact streams that wait for a goroutine to write them
//	ginsse.presence.topics            topics at which a user is present, on any node
//	ginsse.presence.members           users who are present, each once for each topic
//	ginsse.presence.leaving           users and presences whose last stream has just ended
//	ginsse.presence.remote            bytes for the people of other nodes, about
//	ginsse.presence.dropped.messages  messages about presence that came too fast
//	ginsse.log.ready                  1 while the log serves the node, else 0
//	ginsse.log.memory.events          entries of the log in memory
//	ginsse.log.memory                 bytes of the events of the log in memory
//	ginsse.log.memory.limit           bytes of the bound
//	ginsse.log.memory.reach           seconds that the memory reaches back
//	ginsse.log.evicted.events         entries that have left it, by ginsse.reason: see [eventlog.Evicted]
//	ginsse.log.store.connected        1 if the store has answered lately, else 0
//	ginsse.log.store.silence          seconds since the node last had all that the store had
//	ginsse.log.store.failures         times that reading the store began to fail
//	ginsse.log.behind.events          events that are in the store and cannot be delivered yet
//	ginsse.log.store.reads            pages of older events that were asked of the store
//	ginsse.log.store.read.events      events that the store found in pages of older events
//	ginsse.log.store.read.errors      pages that the store did not deliver
//	ginsse.log.inbox.events           committed events that are not in the log yet, on Postgres
//
// Those from ginsse.writing.streams on, the counts of streams and users, and the lag need
// [Telemetry.Watch]. A log without a store has none of its figures. The words are those of package
// promginsse, whose documentation says more.
package otelginsse
