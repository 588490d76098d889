// Package client reads event streams (WHATWG HTML, section 9.2): one from the kit, or
// from any server, for as long as it takes.
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
//				log.Fatal(err) // the last value: there is no more to come
//			}
//			fmt.Println(event.Type, event.Data)
//		}
//	}
//
// A [Decoder] reads a stream that is there already; a [Dispatcher] hands the events
// of one [Client] to several consumers.
//
// # What reconnects and what ends
//
// Ranging connects. When the connection ends, the client waits and connects again,
// with the last event ID, so that a server that keeps events leaves none out:
//
//	the stream ended, cleanly or not               reconnects
//	sse.reconnect                                  reconnects, after the wait that it names
//	silence for Config.IdleTimeout                 reconnects
//	no connection, or no answer in ConnectTimeout  reconnects
//	an error of Config.NewRequest                  reconnects
//	a status that Config.RetryStatus accepts       reconnects, after its Retry-After
//	a page that Config.RetryContentType accepts    reconnects
//	leaving the loop                               ends; ranging again resumes
//	the end of ctx                                 ends with context.Cause(ctx)
//	sse.close                                      ends with *ClosedError, after the event
//	a stream of one request that is complete       ends with *ClosedError, reason "done"
//	any other status but 200, also 204             ends with *StatusError
//	any other answer that is no event stream       ends with *ContentTypeError
//	an event over Config.MaxEventBytes             ends with *EventTooLargeError
//	too many redirects, or one refused             ends with ErrTooManyRedirects, or the refusal
//	Config.MaxFailures in a row                    ends with the last failure, wrapped
//
// Waits grow with the failures in a row. A connection that lived less than
// Config.StableAfter is one, with two exceptions: it ended cleanly after an event of the
// application, or with sse.reconnect.
//
// Half an event is never delivered: it comes whole on the next connection.
//
// # The kit's own events
//
// The streams of a registry carry events of the kit:
//
//	sse.open       yielded; the heartbeat interval in it sets the default of Config.IdleTimeout
//	sse.gap        yielded; events may be missing, and the application should fetch its state anew
//	sse.heartbeat  moves the last event ID; yielded with Config.Heartbeats only
//	sse.reconnect  yielded; then the client reconnects
//	sse.close      yielded; then the iteration ends
//
// To a [Decoder] they are events like any other.
//
// # Concurrency
//
//	Client.Events              one loop at a time; another gets ErrBusy
//	Client.LastEventID         from any goroutine
//	functions in Config        on the goroutine of the loop, which waits for them
//	Decoder                    one goroutine at a time
//	Dispatcher, Subscription   all methods, from any goroutine; one loop per Subscription
//
// A Client starts no goroutine that outlives the loop, and needs no closing.
//
// # Deviations from the standard
//
// Waits grow with failures and have a random part; silence, a slow answer and too
// large an event end a connection; the kit's own events have the meaning above. There is
// no notion of origin: redirects are net/http's, and take most of the header along to
// other hosts; see Config.Header.
//
// Start reading with client.go, then connection.go, kit.go and decoder.go.
package client
