// Package ssetest helps to test handlers that serve event streams: a server
// without sockets, a client that reads a stream event by event, and [Parse] for a
// stream that is complete.
//
//	func TestCommentReachesAuthor(t *testing.T) {
//		server := ssetest.NewServer(t, newEngine())
//		stream := server.Open(t, "/events", ssetest.Bearer(aliceToken))
//		// ... comment as Bob ...
//		event := stream.NextOf("comment")
//		...
//	}
//
// [NewServer] runs a real http.Server and http.Client over memory, so that tests
// with time in them can run in a bubble of testing/synctest: heartbeats, expiry
// and deadlines then take no time. Everything is closed at the end of the test.
//
// A refusal, such as 401 or 429, is no event stream: test for it with the
// server's Client. An application under test can do without tokens by
// authentication that believes a header:
//
//	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
//		return ginsse.Identity{UserID: c.GetHeader("Test-User")}, nil
//	})
//
// [NewNodes] is for tests of an application on several nodes.
//
// Streams are decoded by package client. An answer that a test has opened by itself
// is read with client.Decode.
//
// The functions that take a testing.TB, and the methods of what they return, must
// be called from the test's goroutine: they end the test when what they wait for
// does not come.
package ssetest
