// Package ginsse pushes events to the users of a gin application over
// Server-Sent Events (WHATWG HTML, section 9.2): "Bob commented on Alice's post,
// tell Alice, in every tab she has open, now or when her laptop wakes up".
//
//	auth, err := ginsse.NewAuth(ginsse.AuthConfig{Key: secret, Methods: []string{"HS256"}, Cookie: "__Host-session"})
//	// ...
//	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
//	// ...
//	r := gin.Default()
//	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
//	r.POST("/posts/:id/comments", auth.RequireUser(), func(c *gin.Context) {
//		comment, post := save(c)
//		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), 2*time.Second)
//		defer cancel()
//		_, err := registry.SendTo(ctx, post.AuthorID, ginsse.Event{Type: "comment", Data: comment})
//		// ...
//	})
//	server := &http.Server{
//		Addr:              ":8080",
//		Handler:           r,
//		ConnContext:       ginsse.ConnContext,
//		ReadHeaderTimeout: 5 * time.Second,
//		MaxHeaderBytes:    32 << 10,
//	}
//	server.RegisterOnShutdown(registry.Close)
//
// # The life of a stream
//
//  1. [Middleware] asks [Auth] which user the request comes from. It puts the user ID and the
//     credential's expiry on the gin context, and sets the event-stream headers. A refusal is a
//     JSON answer of RFC 6750.
//  2. [Registry.Serve] checks the response writer: one that cannot carry a stream is refused before
//     the 200, with an error that names it. The stream joins the registry; if the user has too many,
//     the oldest one ends. The stream's position in the log comes from the request's last event ID.
//     Its first block goes out at once: the reconnection time and the event sse.open.
//  3. [Registry.SendTo] encodes an event once and appends it to the log, which wakes the user's
//     streams. Each stream reads the log from its own position and writes what it finds in one
//     write, on its handler's goroutine, under c.Stream. Resuming is the same: the stream of a
//     client that was away reads from an earlier position. With [StreamConfig.Compact] the handler
//     returns once the stream is open, and a few goroutines of the registry write its connection.
//  4. After a silence the stream sends the event sse.heartbeat. Its data is empty, and its ID is the
//     stream's position, which also moves past events of other users.
//  5. The stream ends when the client leaves, takes no byte for [StreamConfig.WriteTimeout], or has
//     no right to it any more. If the client can still be reached, the last event is sse.reconnect,
//     which asks it to come back, or sse.close, which asks it not to: see [Reason].
//
// The log is an [eventlog.Log]. By default it is in memory. A shared log connects several nodes: see
// packages sqllog, in the application's database, natslog and redislog. With sqllog an event can be
// part of a transaction: see [Registry.In].
//
// Topics are what several users watch. [RegistryConfig.AllowTopicFunc] decides which ones a page may
// read, and [Registry.Grant] and [Registry.Revoke] change them while a stream is open. [WithState]
// sends a page its state before what changes it, and [WithPresence] says who is there.
//
// Streams that belong to one request and no user, such as the progress of a job or the tokens of a
// model, need no registry: see [Serve] and [ServeSeq]. They carry none of the kit's events. Their
// heartbeats are comments, and they end with the ID [DoneID]. Work that goes on without its request,
// and that several tabs follow, is a [Run].
//
// # Promises
//
//   - Order: on one stream, events arrive in log order; IDs only grow.
//   - No silent loss: an event for which SendTo returned nil reaches every stream of that user at
//     least once, across disconnects and slow readers, for as long as the log keeps it; or the
//     stream gets sse.gap. There is no third case. A client can tell a repeat by its ID.
//   - A sender never waits for a reader: no socket I/O, no blocking on a stream. A sender that is
//     hundreds of events ahead of its readers yields the processor or sleeps for a tenth of a
//     millisecond, whatever they do meanwhile.
//   - Access has a place in the order: after a grant a stream gets no event of the topic from before
//     it, and after a revocation none from after it, on all nodes.
//   - One opaque ID: a browser's EventSource resumes the user's own events, those for all, and topics
//     with the one Last-Event-ID it has. The ID names no user and grants no access.
//   - A stream ends when its right to exist ends: the credential's expiry, [Registry.Disconnect] on
//     any node, shutdown, the lifetime limit.
//   - No credential in a log line or an error, the kit's or gin's. What is registered behind
//     [Middleware], or wraps the engine from outside, still sees the request.
//   - Memory is bounded: in streams, users, history, and in what an unauthenticated peer can make the
//     server hold. An event is one piece of memory however many streams write it.
//   - A reader that makes progress is never ended, however slow its line. Behind a proxy the reader is
//     the proxy.
//   - The newest stream gets in: at the limit of a user the oldest stream ends, so that connections
//     which are dead but not yet noticed lock no page out.
//
// # Concurrency
//
//	Registry, Auth              all methods, from any goroutine
//	Stream, Run                 all methods, from any goroutine
//	Handler, Serve, ServeSeq,   on the handler's goroutine; they block until the
//	  Registry.Serve, ServeRun    stream has ended, or is open if it is compact
//	Middleware, RequireUser     on the handler's goroutine
//	functions of AuthConfig,    on the handler's goroutine of each request; they may
//	  NewAuthFunc                 block, except AllowOriginFunc
//	hooks of RegistryConfig,    on goroutines of their own; they may block
//	  functions of runs and of WithState
//	AllowTopicFunc              on the handler's goroutine of each request; it may block
//	functions of WithPresence   on the handler's goroutine, and later on others; they
//	                              must not block
//	ConnContext                 on the goroutine that accepts connections
//
// Only the handler's goroutine writes the response. A compact stream goes on without the response,
// on the connection. Nothing keeps a *gin.Context after its handler has returned.
//
// # Deviations from the standard
//
// The kit writes a subset of what section 9.2.5 allows: UTF-8, lines that end in LF, one space after
// each colon, the id as the last field of its block. Event types that begin with "sse." are its own.
//
// By the standard a block with nothing but an id sets the client's last event ID (section 9.2.6).
// Firefox and Safari ignore such a block. This concerns two cases. One is the end of a stream of one
// request: see [DoneID]. The other is heartbeats with [StreamConfig.HeartbeatComments]: such a
// client resumes from its last event, and after hours of silence on a busy server is more likely to
// meet a gap.
package ginsse
