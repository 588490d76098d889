package main

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/ginsse/ginsse/client"
)

// watched is what the doctor has seen of one stream. All its times begin with the request.
type watched struct {
	*reply

	encoding   string // of the response; "" if it is not compressed
	compressed string // the encoding with which nothing arrived; the rest is from another request, without compression

	firstByte time.Duration // 0 if none has arrived
	lastByte  time.Duration
	ended     time.Duration
	endError  error         // nil if the time to watch was over; io.EOF for a complete response
	longest   time.Duration // the longest silence between two reads
	wait      time.Duration // the longest time before a block, from the request or the block before

	events, heartbeats, comments int
	shortest                     time.Duration // the shortest time between two heartbeats

	open        *openData // of sse.open; nil if the server is not of the kit
	gap         string    // the reason of sse.gap; "" if there was none
	lastEventID string
	close       string // the reason of sse.close; "" if there was none
	reconnect   string // the reason of sse.reconnect; "" if there was none
	done        bool   // a stream of one request is complete
}

// openData is the data of sse.open.
type openData struct {
	Resumed   bool  `json:"resumed"`
	Heartbeat int64 `json:"heartbeat"` // milliseconds
}

// heartbeat returns the interval that the server has named; 0 if it has not.
func (w *watched) heartbeat() time.Duration {
	const most = int64(24 * time.Hour / time.Millisecond)
	if w.open == nil || w.open.Heartbeat <= 0 {
		return 0
	}
	return time.Duration(min(w.open.Heartbeat, most)) * time.Millisecond
}

// watch opens the stream as a browser does, and watches it. If nothing arrives, compression may be
// the reason: it tries again without.
func (d *doctor) watch(ctx context.Context) *watched {
	forever := func(*watched) bool { return false }
	w := d.read(ctx, d.newQuestion(false), d.watchTime, forever)
	unreadable := w.isStream() && w.encoding != "" && w.encoding != gzipEncoding
	silent := w.firstByte == 0 && (w.isStream() || errors.Is(w.err, context.DeadlineExceeded))
	if !silent && !unreadable || ctx.Err() != nil {
		return w
	}
	d.uncompressed = true
	plain := d.read(ctx, d.newQuestion(false), d.watchTime, forever)
	if plain.firstByte == 0 {
		d.uncompressed = false
		return w
	}
	if unreadable {
		plain.encoding = w.encoding
	} else {
		plain.compressed = w.encoding
		if w.err != nil {
			plain.compressed = "compression"
		}
	}
	return plain
}

const gzipEncoding = "gzip"

// read opens the stream and reads it until it ends, until enough returns true after an event, or for
// limit after the first byte. It gives up when no byte has arrived within patience.
func (d *doctor) read(ctx context.Context, q question, limit time.Duration, enough func(*watched) bool) *watched {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(d.patience, cancel)
	defer timer.Stop()
	q.follow = true
	start := time.Now()
	w := new(watched)
	var body io.ReadCloser
	w.reply, body = d.send(ctx, q)
	if w.err != nil {
		if ctx.Err() != nil {
			w.err = context.DeadlineExceeded
		}
		return w
	}
	defer func() {
		cancel() // first: over HTTP/2, Close would wait for the end of the stream
		_ = body.Close()
	}()
	w.encoding = strings.ToLower(w.header.Get("Content-Encoding"))
	if w.encoding == "identity" {
		w.encoding = ""
	}
	if !w.isStream() || w.encoding != "" && w.encoding != gzipEncoding {
		return w
	}
	clock := &clock{w: w, start: start, body: body, begin: func() { timer.Reset(limit) }}
	if w.encoding == gzipEncoding {
		clock.body = &gunzip{source: body}
	}
	decoder := client.NewDecoder(clock, client.DecoderConfig{Comment: func(string) { w.comments++ }})
	err := w.decode(decoder, enough)
	w.lastEventID, w.ended = decoder.LastEventID(), time.Since(start)
	w.done = w.lastEventID == "sse.done"
	if ctx.Err() == nil {
		w.endError = err
	}
	return w
}

// decode notes what the events of the stream say. It returns the error that ended the stream, or nil
// after enough has returned true.
func (w *watched) decode(decoder *client.Decoder, enough func(*watched) bool) error {
	var beat time.Duration
	for {
		event, err := decoder.Next()
		if err != nil {
			return err
		}
		var data struct {
			openData
			Reason string `json:"reason"`
		}
		if strings.HasPrefix(event.Type, "sse.") {
			_ = json.Unmarshal([]byte(event.Data), &data) // the type is enough
		}
		switch event.Type {
		case "sse.open":
			w.open = &data.openData
		case "sse.gap":
			w.gap = cmp.Or(data.Reason, "none named")
		case heartbeatEvent:
			if w.heartbeats++; w.heartbeats > 1 {
				if d := w.lastByte - beat; w.heartbeats == 2 || d < w.shortest {
					w.shortest = d
				}
			}
			beat = w.lastByte
		case "sse.close", "sse.reconnect":
			reason := cmp.Or(data.Reason, "none named")
			if event.Type == "sse.close" {
				w.close = reason
			} else {
				w.reconnect = reason
			}
			return io.EOF
		default:
			w.events++
		}
		if enough(w) {
			return nil
		}
	}
}

// clock notes when bytes of a stream arrive.
type clock struct {
	w     *watched
	start time.Time
	body  io.Reader
	begin func() // called after the first byte
}

// Read implements io.Reader.
func (c *clock) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	if n == 0 {
		return n, err
	}
	now := time.Since(c.start)
	if c.w.firstByte == 0 {
		c.begin()
		c.w.firstByte = now
	} else {
		c.w.longest = max(c.w.longest, now-c.w.lastByte)
	}
	c.w.wait = max(c.w.wait, now-c.w.lastByte) // from the request for the first byte
	c.w.lastByte = now
	return n, err
}

// gunzip decompresses a stream as it arrives. It reads nothing before the first Read.
type gunzip struct {
	source io.Reader
	member *gzip.Reader
}

// Read implements io.Reader.
func (g *gunzip) Read(p []byte) (n int, err error) {
	if g.member == nil {
		if g.member, err = gzip.NewReader(bufio.NewReader(g.source)); err != nil {
			return 0, err
		}
	}
	return g.member.Read(p)
}
