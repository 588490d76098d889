package servers

import (
	"net/http"
	"strconv"

	"github.com/alexandrevicenzi/go-sse"
)

const alexandrevicenziAbout = aboutChannels + "It sends IDs, but keeps no events, so there is no replay. There are no queues: the sender " +
	"hands each event to one client after another, and waits until the client has written the event before. No heartbeats and no write " +
	"deadline: a client that stops reading stops the sender."

// newAlexandrevicenzi has a channel for each user. The library has no settings for load.
// With a nil Logger in the options it does not log.
func newAlexandrevicenzi(settings Settings) (Server, error) {
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
		Serve:     channels(settings, server),
		SendTo:    send,
		Broadcast: func(data []byte) error { return send(channelAll, data) },
	}, nil
}
