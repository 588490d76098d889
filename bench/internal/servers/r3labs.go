package servers

import (
	"slices"

	"github.com/r3labs/sse/v2"
)

const r3labsAbout = aboutChannels + "With its defaults it keeps every event of every channel for ever. It replays all of them to a stream " +
	"without a last event ID, and else those from that event on, which is repeated. A channel has a queue of 1,024 events, a client one of 64. " +
	"The sender waits if a queue is full. No heartbeats and no write deadline: a client that stops reading stops its channel."

// newR3labs lets the library create streams on request, with its defaults: it keeps every
// event, and replays them to each new client.
func newR3labs(settings Settings) (Server, error) {
	server := sse.New()
	server.AutoStream = true
	server.CreateStream(channelAll)
	publish := func(channel string, data []byte) error {
		server.Publish(channel, &sse.Event{Data: slices.Clone(data)})
		return nil
	}
	return Server{
		Serve:     channels(settings, server),
		SendTo:    publish,
		Broadcast: func(data []byte) error { return publish(channelAll, data) },
	}, nil
}
