package servers

import (
	"fmt"
	"net/http"

	"github.com/launchdarkly/eventsource"
)

const launchdarklyAbout = aboutChannels + "It closes a stream that lags 128 events behind. At full speed we allow as many as the scenario " +
	"needs. Its SliceRepository, an example without a bound, is used only if streams reconnect, and repeats the last event that they know. " +
	"No heartbeats and no write deadline."

// newLaunchdarkly has a channel for each user. The library closes a stream that lags
// BufferSize events behind. The default of 128 would close all streams at full speed, so
// the scenario sets it there. Streams that reconnect read from the library's
// SliceRepository.
func newLaunchdarkly(settings Settings) (Server, error) {
	server := eventsource.NewServer()
	if settings.Burst > 0 {
		server.BufferSize = settings.Burst
	}
	var repository *eventsource.SliceRepository
	if settings.History > 0 {
		repository = eventsource.NewSliceRepository()
		server.Register(channelAll, repository)
	}
	next := int64(0)
	publish := func(channel string, data []byte) error {
		next++
		// The repository orders by ID as text.
		event := launchdarklyEvent{id: fmt.Sprintf("%012d", next), data: string(data)}
		if repository != nil {
			repository.Add(channel, event)
		}
		server.Publish([]string{channel}, event)
		return nil
	}
	return Server{
		Serve: channels(settings, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			server.Handler(r.URL.Query().Get("stream"))(w, r)
		})),
		SendTo:    publish,
		Broadcast: func(data []byte) error { return publish(channelAll, data) },
	}, nil
}

type launchdarklyEvent struct{ id, data string }

func (e launchdarklyEvent) Id() string    { return e.id } //nolint:staticcheck // the interface's name
func (e launchdarklyEvent) Event() string { return "" }
func (e launchdarklyEvent) Data() string  { return e.data }
