package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/client"
	"github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	tmaxmax "github.com/tmaxmax/go-sse"
)

// recording is an event stream for the decoders. It is in memory, because the benchmark
// measures decoding and not sockets.
type recording struct {
	name   string
	text   []byte
	events int
	blocks int // events, and blocks of comments alone
	data   int // bytes of data, without the LF between lines
	reads  int // most bytes of a read; 0 is no limit
}

func (s recording) reader() io.Reader {
	if s.reads == 0 {
		return bytes.NewReader(s.text)
	}
	return shortReader{bytes.NewReader(s.text), s.reads}
}

// shortReader returns few bytes at a time, as a slow connection does.
type shortReader struct {
	r    io.Reader
	most int
}

func (s shortReader) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.most)]) }

// record writes n events, each with an ID, a type and lines of data. Before each event come
// comments, each in its own block.
func record(name string, n int, lines []string, comments int) recording {
	var text strings.Builder
	s := recording{name: name, events: n, blocks: n + n*comments}
	for i := range n {
		for range comments {
			text.WriteString(": heartbeat\n\n")
		}
		fmt.Fprintf(&text, "id: %d\nevent: price\n", 1_000_000+i)
		for _, line := range lines {
			text.WriteString("data: " + line + "\n")
			s.data += len(line)
		}
		text.WriteString("\n")
	}
	s.text = []byte(text.String())
	return s
}

func recordings() []recording {
	payload := func(n int) string {
		return `{"symbol":"YHOO","text":"` + strings.Repeat("x", n-27) + `"}`
	}
	var lines []string
	for range 20 {
		lines = append(lines, payload(50))
	}
	crlf := record("crlf", 2000, []string{payload(100)}, 0)
	crlf.text = bytes.ReplaceAll(crlf.text, []byte("\n"), []byte("\r\n"))
	short := record("large_in_short_reads", 500, []string{payload(4 << 10)}, 0)
	short.reads = 256
	return []recording{
		record("small", 2000, []string{payload(100)}, 0),
		record("large", 500, []string{payload(4 << 10)}, 0),
		short,
		record("lines", 500, lines, 0),
		record("comments", 1000, []string{payload(100)}, 10),
		crlf,
	}
}

// decoding is a decoder. decode reads all events of a stream, and returns their number and
// the bytes of their data.
type decoding struct {
	name string
	// blocksOnly is for a decoder that finds the ends of blocks and does not decode them.
	// It returns no fields, and counts a comment as an event.
	blocksOnly bool
	decode     func(r io.Reader) (events, data int, err error)
}

func decodings() []decoding {
	return []decoding{
		{"ginsse", false, decodeGinsse},
		{"tmaxmax", false, decodeTmaxmax},
		{"launchdarkly", false, decodeLaunchdarkly},
		{"r3labs_client", false, decodeR3labsClient},
		{"r3labs_blocks", true, decodeR3labsBlocks},
	}
}

func decodeGinsse(r io.Reader) (events, data int, err error) {
	for e, err := range client.Decode(r) {
		if err != nil {
			return events, data, err
		}
		events++
		data += len(e.Data)
	}
	return events, data, nil
}

func decodeTmaxmax(r io.Reader) (events, data int, err error) {
	for e, err := range tmaxmax.Read(r, nil) {
		if err != nil {
			return events, data, err
		}
		events++
		data += len(e.Data)
	}
	return events, data, nil
}

// decodeLaunchdarkly reads on another goroutine, which ends with the stream.
func decodeLaunchdarkly(r io.Reader) (events, data int, err error) {
	decoder := eventsource.NewDecoder(r)
	for {
		e, err := decoder.Decode()
		if errors.Is(err, io.EOF) {
			return events, data, nil
		}
		if err != nil {
			return events, data, err
		}
		events++
		data += len(e.Data())
	}
}

// decodeR3labsClient uses the library's client, because its parser of fields is private. The
// stream is the body of a fake response. After an ID the client also returns events for
// blocks of comments. They have no data, and are not counted.
func decodeR3labsClient(r io.Reader) (events, data int, err error) {
	c := r3labs.NewClient("http://localhost/")
	c.Connection = &http.Client{Transport: roundTrip(func(request *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(r), Request: request}, nil
	})}
	err = c.SubscribeRaw(func(e *r3labs.Event) {
		if len(e.Data) > 0 {
			events++
			data += len(e.Data)
		}
	})
	return events, data, err
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func decodeR3labsBlocks(r io.Reader) (events, data int, err error) {
	reader := r3labs.NewEventStreamReader(r, 1<<16)
	for {
		block, err := reader.ReadEvent()
		if errors.Is(err, io.EOF) {
			return events, data, nil
		}
		if err != nil {
			return events, data, err
		}
		events++
		data += len(block)
	}
}

// decodeAll decodes a recording and checks the result.
func (d decoding) decodeAll(s recording) error {
	events, data, err := d.decode(s.reader())
	if err != nil {
		return err
	}
	if d.blocksOnly {
		if events != s.blocks {
			return fmt.Errorf("%d blocks, want %d", events, s.blocks)
		}
		return nil
	}
	linesApart := bytes.Count(s.text, []byte("data:")) - s.events // an LF between two lines
	if events != s.events || data != s.data+linesApart {
		return fmt.Errorf("%d events of %d bytes, want %d of %d", events, data, s.events, s.data+linesApart)
	}
	return nil
}

func TestDecodersDecodeAllEvents(t *testing.T) {
	t.Parallel()
	for _, s := range recordings() {
		for _, d := range decodings() {
			t.Run(s.name+"/"+d.name, func(t *testing.T) {
				t.Parallel()
				if err := d.decodeAll(s); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// BenchmarkDecode decodes the same recordings with each decoder. r3labs_blocks does less than
// the others: see blocksOnly. Only ginsse checks that text is UTF-8.
func BenchmarkDecode(b *testing.B) {
	for _, s := range recordings() {
		for _, d := range decodings() {
			b.Run(s.name+"/"+d.name, func(b *testing.B) {
				if err := d.decodeAll(s); err != nil {
					b.Skip(err)
				}
				b.SetBytes(int64(len(s.text)))
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				rounds := 0
				for b.Loop() {
					if _, _, err := d.decode(s.reader()); err != nil {
						b.Fatal(err)
					}
					rounds++
				}
				runtime.ReadMemStats(&after)
				events := float64(rounds * s.events)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
				b.ReportMetric(float64(after.Mallocs-before.Mallocs)/events, "allocs/event")
				b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/events, "B/event")
			})
		}
	}
}
