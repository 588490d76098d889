package servers

import (
	"net/http"
	"strconv"
)

const netHTTPAbout = "On net/http. Events have IDs and are encoded once. Each client has a channel of 64 events, which is drained into one " +
	"write of about 32 KiB at most. " + aboutUpkeep + " No replay. " + aboutHub

// newNetHTTP returns the best loop that one would write by hand on net/http. It encodes
// events once, and writes all events that wait for a client in one write.
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
		limit := newDeadline(settings, w)
		if limit.push() != nil {
			return
		}
		flusher := w.(http.Flusher) //nolint:forcetypeassert // net/http's own writer is one
		flusher.Flush()
		heartbeats := newHeartbeats(settings)
		defer heartbeats.stop()
		done := r.Context().Done()
		heartbeat := []byte(": heartbeat\n\n")
		var pending []byte
		for {
			var out []byte
			select {
			case out = <-c.events:
				if len(c.events) > 0 {
					pending = drain(append(pending[:0], out...), c.events)
					out = pending
				}
			case <-heartbeats.C:
				heartbeats.next()
				out = heartbeat
			case <-done:
				return
			}
			if limit.push() != nil {
				return
			}
			if _, err := w.Write(out); err != nil {
				return
			}
			flusher.Flush()
		}
	})
	return Server{
		Serve: serve(settings, handler),
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

// drain appends the frames that wait, up to about 32 KiB.
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

// frame returns an event in wire form.
func frame(id int64, data []byte) []byte {
	b := make([]byte, 0, len(data)+40)
	b = append(b, "id: "...)
	b = strconv.AppendInt(b, id, 10)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}
