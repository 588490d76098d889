package servers

import (
	"net/http"
	"strconv"

	"github.com/tmaxmax/go-sse"
)

const tmaxmaxAbout = aboutChannels + "Its provider Joe writes to one stream after another, on one goroutine for all, and looks at every stream for each event; its FiniteReplayer, " +
	"with automatic IDs, is used only where streams come back. No heartbeats and no write deadline: a client that has stopped " +
	"reading stops everybody. Headers are flushed by us before the library subscribes the stream, so an event in between is missed."

// newTmaxmax uses Joe, the provider that the library comes with, and for streams
// that come back its FiniteReplayer. That numbers the events, as in the library's
// larger example: then it computes where a stream goes on, and else it searches. (It
// repeats everything to a stream that has missed nothing, as none has here.) Headers
// are sent at once, as a browser wants them; left alone, the library sends them with
// the first event.
func newTmaxmax(settings Settings) (Server, error) {
	joe := new(sse.Joe)
	if settings.History > 0 {
		replayer, err := sse.NewFiniteReplayer(settings.History, true)
		if err != nil {
			return Server{}, err
		}
		joe.Replayer = replayer
	}
	server := &sse.Server{
		Provider: joe,
		OnSession: func(w http.ResponseWriter, r *http.Request) ([]string, bool) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			return []string{r.URL.Query().Get("stream")}, true
		},
	}
	next := int64(0)
	publish := func(channel string, data []byte) error {
		message := new(sse.Message)
		if joe.Replayer == nil { // else it refuses events with IDs
			next++
			message.ID = sse.ID(strconv.FormatInt(next, 10))
		}
		message.AppendData(string(data))
		return server.Publish(message, channel)
	}
	return Server{
		Serve:     channels(settings, server),
		SendTo:    publish,
		Broadcast: func(data []byte) error { return publish(channelAll, data) },
	}, nil
}
