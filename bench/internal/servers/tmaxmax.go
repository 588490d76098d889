package servers

import (
	"net/http"
	"strconv"

	"github.com/tmaxmax/go-sse"
)

const tmaxmaxAbout = aboutChannels + "Its provider Joe writes to one stream after another, on one goroutine, and checks every stream for each event. " +
	"Its FiniteReplayer, with automatic IDs, is used only if streams reconnect. No heartbeats and no write deadline: a client that stops " +
	"reading stops all streams. We flush the headers before the library subscribes the stream, so it misses an event in between."

// newTmaxmax uses Joe, the library's own provider. If streams reconnect, it also uses the
// library's FiniteReplayer, with automatic IDs as in the library's larger example: with
// them the replayer computes where a stream resumes, and else it searches. (It repeats
// everything to a stream that has missed nothing, which does not happen here.) Headers are
// sent at once, as browsers expect. By default the library sends them with the first event.
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
		if joe.Replayer == nil { // a replayer refuses events with IDs
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
