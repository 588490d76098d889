package servers

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// newNetHTTP is the best loop that one would write by hand on net/http: events
// are encoded once, and a client that is behind gets all that waits in one write.
func newNetHTTP(settings Settings) (Server, error) {
	h := newHub[[]byte]()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := userOf(r.Header.Get("Authorization"))
		if err != nil {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		c, leave := h.join(user)
		defer leave()
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
		flusher := w.(http.Flusher) //nolint:forcetypeassert // net/http's own can
		flusher.Flush()
		var beat <-chan time.Time
		if !settings.Silent {
			ticker := time.NewTicker(heartbeat)
			defer ticker.Stop()
			beat = ticker.C
		}
		done := r.Context().Done()
		var pending []byte
		for {
			var err error
			select {
			case frame := <-c.events:
				if len(c.events) == 0 {
					_, err = w.Write(frame)
					break
				}
				pending = drain(append(pending[:0], frame...), c.events)
				_, err = w.Write(pending)
			case <-beat:
				_, err = io.WriteString(w, ": heartbeat\n\n")
			case <-done:
				return
			}
			if err != nil {
				return
			}
			flusher.Flush()
		}
	})
	return Server{
		Serve: serve(handler),
		SendTo: func(user string, data []byte) error {
			h.next++
			h.sendTo(user, frame(h.next, data))
			return nil
		},
		Broadcast: func(data []byte) error {
			h.next++
			h.broadcast(frame(h.next, data))
			return nil
		},
	}, nil
}

// drain appends the frames that wait, up to 32 KiB.
func drain(pending []byte, frames <-chan []byte) []byte {
	for len(pending) < 32<<10 {
		select {
		case frame := <-frames:
			pending = append(pending, frame...)
		default:
			return pending
		}
	}
	return pending
}

// frame is an event in wire form.
func frame(id int64, data []byte) []byte {
	b := make([]byte, 0, len(data)+40)
	b = append(b, "id: "...)
	b = strconv.AppendInt(b, id, 10)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}
