// Package client reads event streams (WHATWG HTML, section 9.2) and reconnects when a connection
// ends. It works with any server, and knows the events that the kit's servers add.
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
//		defer stop()
//		c, err := client.New(client.Config{
//			URL:         "https://example.com/events",
//			Header:      http.Header{"Authorization": {"Bearer " + os.Getenv("TOKEN")}},
//			RetryStatus: client.RetryTransient,
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		for event, err := range c.Events(ctx) {
//			if ctx.Err() != nil {
//				return
//			}
//			if err != nil {
//				log.Fatal(err) // an error is the last value
//			}
//			fmt.Println(event.Type, event.Data)
//		}
//	}
//
// A [Decoder] reads a stream that is already open. A [Dispatcher] hands the events of one [Client]
// to several consumers.
//
// # What reconnects and what ends
//
// Ranging connects. When the connection ends, the client waits, then connects again with the last
// event ID, so that a server that keeps events can send the missing ones:
//
//	end of the stream, clean or not                reconnects
//	sse.reconnect                                  reconnects, after the wait that it names
//	silence for Config.IdleTimeout                 reconnects
//	no connection, or no answer in ConnectTimeout  reconnects
//	an error from Config.NewRequest                reconnects
//	a status that Config.RetryStatus accepts       reconnects, after its Retry-After
//	a type that Config.RetryContentType accepts    reconnects
//	leaving the loop                               ends; ranging again resumes
//	the end of ctx                                 ends with context.Cause(ctx)
//	sse.close                                      ends with *ClosedError, after the event
//	a completed stream of one request              ends with *ClosedError, reason "done"
//	any other status except 200, including 204     ends with *StatusError
//	any other response without an event stream     ends with *ContentTypeError
//	an event over Config.MaxEventBytes             ends with *EventTooLargeError
//	too many redirects, or one refused             ends with ErrTooManyRedirects, or the refusal
//	Config.MaxFailures in a row                    ends with the last failure, wrapped
//
// Waits grow with consecutive failures. A connection that lived less than Config.StableAfter counts
// as a failure, with two exceptions: it ended cleanly after an event of the application, or it
// ended with sse.reconnect.
//
// An incomplete event is never delivered. The server sends it again on the next connection.
//
// # The kit's own events
//
// The streams of a registry carry events of the kit:
//
//	sse.open       yielded; its heartbeat interval sets the default of Config.IdleTimeout
//	sse.gap        yielded; events may be missing, so the application should reload its state
//	sse.heartbeat  moves the last event ID; yielded with Config.Heartbeats only
//	sse.reconnect  yielded; then the client reconnects
//	sse.close      yielded; then the iteration ends
//
// A [Decoder] treats them like any other event.
//
// # Concurrency
//
//	Client.Events              one loop at a time; another gets ErrBusy
//	Client.LastEventID         from any goroutine
//	functions in Config        on the goroutine of the loop; the loop waits for them
//	Decoder                    one goroutine at a time
//	Dispatcher, Subscription   all methods, from any goroutine; one loop per Subscription
//
// A Client starts no goroutine that outlives the loop, and has no Close method.
//
// # Deviations from the standard
//
// Waits grow with failures and have a random part. Silence, a slow response and an event over the
// size limit end a connection. The kit's own events have the meaning above. The client does not
// check origins: net/http follows redirects, and sends most header fields to other hosts as well;
// see Config.Header.
//
// Start reading with client.go, then connection.go, kit.go and decoder.go.
package client
