package servers

import (
	"slices"

	"github.com/r3labs/sse/v2"
)

const r3labsAbout = aboutChannels + "With its defaults it keeps every event of every channel for ever, and replays them all to a stream without " +
	"a last event ID, else from that event on, which is repeated; a queue of 1,024 events for each channel and of 64 for each client, " +
	"and the sender waits where they are full. No heartbeats and no write deadline: a client that has stopped reading stops its channel."

// newR3labs has the library create a stream for whoever asks for one, with its
// defaults: it remembers every event, and replays them to whoever comes.
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
