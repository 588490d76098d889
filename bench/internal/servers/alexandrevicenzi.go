package servers

import (
	"net/http"
	"strconv"

	"github.com/alexandrevicenzi/go-sse"
)

// newAlexandrevicenzi has a channel for each user. The library has nothing to set
// for load; with a nil Logger in the options it does not log.
func newAlexandrevicenzi(Settings) (Server, error) {
	server := sse.NewServer(&sse.Options{
		ChannelNameFunc: func(r *http.Request) string { return r.URL.Query().Get("stream") },
	})
	next := int64(0)
	send := func(channel string, data []byte) error {
		next++
		server.SendMessage(channel, sse.NewMessage(strconv.FormatInt(next, 10), string(data), ""))
		return nil
	}
	return Server{
		Serve:     channels(server),
		SendTo:    send,
		Broadcast: func(data []byte) error { return send(channelAll, data) },
	}, nil
}
