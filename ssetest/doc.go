// Package ssetest helps to test handlers that serve event streams. It has a server without sockets,
// a client that reads a stream event by event, and [Parse] for a complete stream.
//
//	func TestCommentReachesAuthor(t *testing.T) {
//		server := ssetest.NewServer(t, newEngine())
//		stream := server.Open(t, "/events", ssetest.Bearer(aliceToken))
//		// ... comment as Bob ...
//		event := stream.NextOf("comment")
//		...
//	}
//
// [NewServer] runs a real http.Server and http.Client over in-memory connections. So tests of
// heartbeats, expiry and deadlines can run in a bubble of testing/synctest, where waiting takes no
// time. Everything is closed at the end of the test.
//
// A refusal, such as 401 or 429, is not an event stream: test it with the server's Client. An
// application under test needs no tokens if its authentication trusts a header:
//
//	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
//		return ginsse.Identity{UserID: c.GetHeader("Test-User")}, nil
//	})
//
// [NewNodes] is for tests of an application on several nodes.
//
// Package client decodes the streams. To read a response that the test has requested itself, use
// client.Decode.
//
// Call the functions that take a testing.TB, and the methods of what they return, on the test's
// goroutine. They end the test when the thing they wait for does not happen.
package ssetest
