package servers

import (
	"fmt"
	"net/http"

	"github.com/launchdarkly/eventsource"
)

const launchdarklyAbout = aboutChannels + "A client that is 128 events behind is cut; at full speed we allow as many as the scenario needs. " +
	"Its SliceRepository, an example without a bound, is used only where streams come back, and repeats the last event that they know. " +
	"No heartbeats and no write deadline."

// newLaunchdarkly has a channel for each user. A client that is BufferSize events
// behind is cut: 128 by default, which at full speed cuts everybody, so there it
// is what the scenario asks for. Streams that come back are served from the
// library's SliceRepository.
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
