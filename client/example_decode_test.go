package client_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ginsse/ginsse/client"
)

// Decode reads an event stream from any io.Reader, such as a response body, a recording or standard
// input.
func ExampleDecode() {
	recording := strings.NewReader(": a recording\n\n" +
		"id: 1\nevent: price\ndata: {\"symbol\":\"YHOO\",\"cents\":3218}\n\n" +
		"id: 2\ndata: closing\ndata: in five minutes\n\n" +
		"data: without a blank line, it is no event")

	for event, err := range client.Decode(recording) {
		if err != nil {
			fmt.Println("reading events:", err)
			return
		}
		if event.Type != "price" {
			fmt.Printf("%s %s %q\n", event.LastEventID, event.Type, event.Data)
			continue
		}
		var price struct {
			Symbol string
			Cents  int
		}
		if err := event.Unmarshal(&price); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(event.LastEventID, price.Symbol, price.Cents)
	}
	// Output:
	// 1 YHOO 3218
	// 2 message "closing\nin five minutes"
}

// A Decoder also gives access to comments, the reconnection time and the current last event ID.
func ExampleDecoder() {
	stream := strings.NewReader("retry: 2500\n: all quiet\n\nid: 8\ndata: hello\n\nid: 9\n\n")
	decoder := client.NewDecoder(stream, client.DecoderConfig{
		LastEventID: "7",
		Comment:     func(text string) { fmt.Println("comment:", text) },
		Retry:       func(t time.Duration) { fmt.Println("reconnection time:", t) },
	})
	for {
		event, err := decoder.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fmt.Println("reading events:", err)
			return
		}
		fmt.Println("event:", event.Data)
	}
	fmt.Println("last event ID:", decoder.LastEventID())
	// Output:
	// reconnection time: 2.5s
	// comment: all quiet
	// event: hello
	// last event ID: 9
}
