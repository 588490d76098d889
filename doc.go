// Package ginsse pushes events to the users of a gin application over
// Server-Sent Events (WHATWG HTML, section 9.2): "Bob commented on Alice's post,
// tell Alice, in every tab she has open, now or when her laptop wakes up".
//
//	auth, err := ginsse.NewAuth(ginsse.AuthConfig{Key: secret, Methods: []string{"HS256"}, Cookie: "session"})
//	// ...
//	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
//	// ...
//	r := gin.Default()
//	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
//	r.POST("/posts/:id/comments", auth.RequireUser(), func(c *gin.Context) {
//		comment, post := save(c)
//		_, err := registry.SendTo(c.Request.Context(), post.AuthorID, ginsse.Event{Type: "comment", Data: comment})
//		// ...
//	})
//	server := &http.Server{Addr: ":8080", Handler: r}
//	server.RegisterOnShutdown(registry.Close)
//
// # The life of a stream
//
//  1. [Middleware] asks [Auth] who the request comes from, puts the user ID and
//     the credential's expiry on the gin context, and sets the event-stream
//     headers. A refusal is a JSON answer of RFC 6750.
//  2. [Registry.Serve] looks through the response writer: what cannot flush or
//     hides write deadlines is refused before the 200, with an error that names
//     it. The stream joins the registry, finds its place in the [Log] from the
//     request's last event ID, and its first block goes out at once: the
//     reconnection time and the event sse.open.
//  3. [Registry.SendTo] encodes an event once and appends it to the log. That
//     wakes the user's streams; each reads the log from its own position and
//     writes all it finds in one write, on its handler's goroutine, under
//     c.Stream. Resuming is the same: a stream that was away reads from further
//     back.
//  4. In silence a heartbeat goes out. It is a comment, or a block with nothing
//     but an id when the position has moved past events of other users.
//  5. The stream ends when the client leaves, stops reading, or its right to
//     exist ends; the client is told why by the event sse.close.
//
// On several nodes the registries share a log: see [SharedLog] and package natslog.
//
// Streams that belong to one request and no user, such as the progress of a job
// or the tokens of a model, need no registry: see [Serve], [ServeSeq] and [Open].
//
// # Promises
//
//   - Order: on one stream, events arrive in log order; ids only grow.
//   - Nothing lost, never silent: an event for which SendTo returned nil reaches
//     every stream of that user at least once, across disconnects and slow
//     readers, for as long as the log keeps it; or the stream gets sse.gap. A
//     repeat can be told by its id. There is no third case.
//   - A sender never waits for a reader: no socket I/O, no blocking on a stream. A
//     sender that outruns readers by hundreds of events yields the processor or
//     naps for a tenth of a millisecond, whatever they do meanwhile.
//   - One opaque id: a browser's EventSource resumes the user's own events, those
//     for all, and topics with the one Last-Event-ID it has. The id names nobody
//     and allows nothing.
//   - A stream ends when its right to exist ends: the credential's expiry,
//     [Registry.Disconnect], shutdown, the lifetime limit.
//   - No credential in a log line or an error, the kit's or gin's. What is
//     registered behind [Middleware], or wraps the engine from outside, still
//     sees the request.
//   - Memory is bounded: in streams, users, history, and in what a peer who has
//     not been authenticated can make the server hold.
//
// # Concurrency
//
//	Registry, Auth, MemoryLog   all methods, from any goroutine
//	Stream.Send, Disconnect,    from any goroutine
//	  Done, Err and getters
//	Stream.Wait, Stream.Close   on the handler's goroutine, for a stream from Open
//	Handler, Serve, ServeSeq,   on the handler's goroutine; they block until the
//	  Registry.Serve              stream has ended
//	hooks of RegistryConfig     on goroutines of their own; they may block
//
// Only the handler's goroutine touches the response, and nothing keeps a
// *gin.Context once its handler has returned.
//
// # Deviations from the standard
//
// The kit writes a subset of what section 9.2.5 allows: UTF-8, lines that end in
// LF, one space after each colon. Event types that begin with "sse." are its own.
// Firefox and Safari do not take up the id of a block without data; their streams
// resume from the last event instead, which is correct and, after hours of
// silence on a busy server, more likely to meet a gap.
//
// Start reading with middleware.go, then stream.go and loop.go, then registry.go.
package ginsse
