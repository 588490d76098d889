package servers

import (
	"net/http"
	"strconv"

	"github.com/tmaxmax/go-sse"
)

// newTmaxmax uses Joe, the provider that the library comes with, and for streams
// that come back its FiniteReplayer. Headers are sent at once, as a browser wants
// them; left alone, the library sends them with the first event.
func newTmaxmax(settings Settings) (Server, error) {
	joe := new(sse.Joe)
	if settings.History > 0 {
		replayer, err := sse.NewFiniteReplayer(settings.History, false)
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
		next++
		message := &sse.Message{ID: sse.ID(strconv.FormatInt(next, 10))}
		message.AppendData(string(data))
		return server.Publish(message, channel)
	}
	return Server{
		Serve:     channels(server),
		SendTo:    publish,
		Broadcast: func(data []byte) error { return publish(channelAll, data) },
	}, nil
}
