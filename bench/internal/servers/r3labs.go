package servers

import (
	"slices"

	"github.com/r3labs/sse/v2"
)

// newR3labs has the library create a stream for whoever asks for one, with its
// defaults: it remembers every event, and replays them to whoever comes.
func newR3labs(Settings) (Server, error) {
	server := sse.New()
	server.AutoStream = true
	server.CreateStream(channelAll)
	publish := func(channel string, data []byte) error {
		server.Publish(channel, &sse.Event{Data: slices.Clone(data)})
		return nil
	}
	return Server{
		Serve:     channels(server),
		SendTo:    publish,
		Broadcast: func(data []byte) error { return publish(channelAll, data) },
	}, nil
}
