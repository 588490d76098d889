package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// round returns a duration for the output.
func round(d time.Duration) time.Duration {
	if d >= 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}

// checkResponse says whether the response is an event stream.
func (d *doctor) checkResponse(w *watched, probe *reply) bool {
	f := finding{check: "response"}
	defer func() { d.report(f) }()
	switch {
	case errors.Is(w.err, context.DeadlineExceeded) && probe.err == nil:
		f.add(fault, fmt.Sprintf("none within %v, with and without compression, but OPTIONS was answered after %v: a proxy holds the response back, or the server does not answer", d.patience, round(probe.took)), unbuffer...)
		return false
	case errors.Is(w.err, context.DeadlineExceeded):
		f.add(fault, fmt.Sprintf("none within %v, and OPTIONS was not answered either: %s", d.patience, probe.err.Error()), inServer("does the proxy reach the server, and does the server answer?"))
		return false
	case w.err != nil:
		f.add(fault, "none: "+w.err.Error(), inServer("check the host, the port and the certificate; if a proxy has closed the connection, the log of the proxy has the reason"))
		return false
	case w.isStream():
		f.add(fine, fmt.Sprintf("an event stream; its header came after %v", round(w.took)))
	default:
		f.add(fault, w.describe()+", which no browser reads as an event stream", refusalAdvice(w.reply)...)
	}
	if len(w.redirects) > 0 {
		f.add(warning, "redirected to "+strings.Join(w.redirects, ", then to ")+": each reconnect takes this way again, and a browser takes no Authorization to another origin",
			inServer("in the page: use the URL where the redirect leads"))
	}
	return w.isStream()
}

// refusalAdvice returns what to do about a response that is no event stream.
func refusalAdvice(a *reply) []advice {
	switch {
	case a.status == http.StatusOK && strings.Contains(a.contentType(), "html"):
		return []advice{inServer("is this a page to sign in, or the page of an application that answers every path? check the path and the credential (-token, -H)")}
	case a.status == http.StatusOK:
		return []advice{inServer("in the server: Content-Type: text/event-stream")}
	case a.status == http.StatusNoContent:
		return []advice{inServer("204 asks the client not to reconnect: check what the server has ended")}
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return []advice{inServer("check the credential (-token, -H, $SSECAT_TOKEN); the log of the server has the reason")}
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed:
		return []advice{inServer("check the path, and which paths the proxy passes to the server")}
	case a.status == http.StatusTooManyRequests:
		return []advice{inServer("a limit of the server or of a proxy is reached")}
	case a.status == http.StatusBadGateway, a.status == http.StatusServiceUnavailable, a.status == http.StatusGatewayTimeout:
		return []advice{inServer("the proxy does not reach the server, or gets no answer in time: its log has the reason")}
	case a.status >= http.StatusInternalServerError:
		return []advice{inServer("the log of the server has the reason; the kit refuses to stream behind middleware that holds responses back")}
	default:
		return []advice{inServer("check the URL and the log of the server")}
	}
}

// checkBuffering says whether something holds events back. A server of the kit sends its first block
// at once, and a heartbeat only after a silence: heartbeats that arrive together were held back.
func (d *doctor) checkBuffering(w *watched) {
	f := finding{check: "buffering"}
	beat, silence := w.heartbeat(), w.ended-w.lastByte
	switch {
	case w.firstByte == 0:
		f.add(fault, fmt.Sprintf("the header came after %v, but no byte of the stream within %v; a server of the kit sends its first block at once", round(w.took), round(w.ended)), unbuffer...)
	case beat == 0:
		f.add(fine, fmt.Sprintf("the first byte came after %v; the server does not name its heartbeat interval, so later blocks cannot be judged", round(w.firstByte)))
	case w.wait > 2*beat && w.heartbeats > 1 && w.shortest < beat/4:
		f.add(fault, fmt.Sprintf("heartbeats came in bursts: down to %v apart, after up to %v of silence; the server sends one at least every %v", round(w.shortest), round(w.wait), beat), unbuffer...)
	case w.endError == nil && silence > 2*beat:
		f.add(fault, fmt.Sprintf("nothing came for the last %v, though the server sends a heartbeat at least every %v", round(silence), beat), unbuffer...)
	default:
		f.add(fine, fmt.Sprintf("the first byte came after %v, and later blocks did not come in bursts", round(w.firstByte)))
	}
	d.report(f)
}

// checkCompression says whether the stream is compressed, and whether that holds it back.
func (d *doctor) checkCompression(w *watched) {
	f := finding{check: "compression"}
	switch {
	case w.compressed != "":
		f.add(fault, fmt.Sprintf("with %.20s nothing came within %v; without compression the first byte came after %v", printable(w.compressed), d.patience, round(w.firstByte)), uncompress...)
	case w.encoding != "":
		f.add(warning, fmt.Sprintf("Content-Encoding is %s: compression costs memory for each stream, and may hold events back", shortQuote(w.encoding)), uncompress...)
	default:
		f.add(fine, "none, though the request allows it")
	}
	d.report(f)
}

// printable returns a text of the server without the quotes of shortQuote.
func printable(text string) string { return strings.Trim(strconv.Quote(text), `"`) }

// checkHeaders says what the headers of the response have caches and proxies do.
func (d *doctor) checkHeaders(w *watched) {
	f := finding{check: "headers"}
	control := strings.ToLower(strings.Join(w.header.Values("Cache-Control"), ", "))
	if length := w.header.Get("Content-Length"); length != "" {
		f.add(fault, "Content-Length is "+shortQuote(length)+": the response was collected before it was sent", unbuffer...)
	}
	if age := w.header.Get("Age"); age != "" && age != "0" {
		f.add(fault, "Age is "+shortQuote(age)+": the response comes from a cache", dontCache...)
	}
	if !strings.Contains(control, "no-store") && !strings.Contains(control, "no-cache") && !strings.Contains(control, "private") {
		f.add(warning, "Cache-Control does not keep shared caches from storing the stream", inServer("in the server: Cache-Control: private, no-store, no-transform"))
	}
	if !strings.Contains(control, "no-transform") {
		f.add(warning, "Cache-Control has no no-transform, so a proxy may compress the stream", inServer("in the server: Cache-Control: no-transform"))
	}
	switch buffering := w.header.Get("X-Accel-Buffering"); {
	case strings.EqualFold(buffering, "no"):
	case buffering != "":
		f.add(warning, "X-Accel-Buffering is "+shortQuote(buffering), inServer("in the server: X-Accel-Buffering: no"))
	case w.open == nil && !d.proxies[nginx]: // nginx takes the header out, and the kit sends it
		f.add(warning, "X-Accel-Buffering is missing: an nginx would hold events back", inServer("in the server: X-Accel-Buffering: no"))
	}
	for _, name := range []string{"Etag", "Last-Modified"} {
		if w.header.Get(name) != "" {
			f.add(warning, name+" is set, which is for responses that can be cached", inServer("in the server: no "+name+" for the stream"))
		}
	}
	if f.seen == "" {
		f.add(fine, "Cache-Control is "+shortQuote(control)+", no Content-Length")
	}
	d.report(f)
}

// checkHeartbeats says whether the stream has something to send often enough for proxies.
func (d *doctor) checkHeartbeats(w *watched) {
	f := finding{check: "heartbeats"}
	beat := w.heartbeat()
	seen := fmt.Sprintf("%d heartbeats, %d comments, %d events; the longest silence was %v", w.heartbeats, w.comments, w.events, round(w.silence()))
	if w.heartbeats > 1 {
		seen += fmt.Sprintf(", the shortest time between two heartbeats %v", round(w.shortest))
	}
	const usual = 30 * time.Second // the shortest limit of common load balancers
	switch {
	case beat > usual:
		f.add(warning, fmt.Sprintf("the server sends a heartbeat at least every %v, which is more than some load balancers allow", beat), inServer("in the server: StreamConfig.HeartbeatInterval of 15 s, the default"))
	case beat > 0 && w.silence() > 2*beat:
		f.add(warning, fmt.Sprintf("%s; the server sends a heartbeat at least every %v, so they are late: a machine is overloaded, or something holds them back", seen, beat))
	case beat > 0:
		f.add(fine, fmt.Sprintf("%s; the server sends a heartbeat at least every %v", seen, beat))
		if d.watchTime < 2*beat && w.endError == nil {
			f.seen += fmt.Sprintf("; watch with -for %v to see several", 4*beat)
		}
	case w.comments == 0 && w.silence() >= min(d.watchTime*3/4, usual):
		f.add(warning, seen+"; without heartbeats, proxies end a stream that is quiet", inServer("in the server: send a comment or an event every 15 s; a stream of the kit does, unless HeartbeatInterval is negative"))
	default:
		f.add(fine, seen)
	}
	d.report(f)
}

// silence returns the longest silence, including that before the end.
func (w *watched) silence() time.Duration { return max(w.longest, w.ended-w.lastByte) }

// refusedForNow returns what to do about sse.reconnect instead of a stream.
func refusedForNow(reason string) advice {
	if reason == "throttled" {
		return inServer("in the server: this user opens streams more often than RegistryConfig.MaxOpensPerMinute")
	}
	return inServer("in the server: RegistryConfig.MaxStreams is reached, or the event log does not answer; ginsse_streams_refused_total and the logger of the registry say which")
}

// checkEnd says whether something has cut the stream off.
func (d *doctor) checkEnd(w *watched) {
	f := finding{check: "end"}
	beat, silence := w.heartbeat(), w.ended-w.lastByte
	switch {
	case w.endError == nil:
		f.add(fine, fmt.Sprintf("the stream was open for %v", round(w.ended)))
	case w.close != "":
		f.add(fine, fmt.Sprintf("the server has ended the stream after %v with sse.close, reason %s", round(w.ended), shortQuote(w.close)))
	case w.reconnect == "overloaded" || w.reconnect == "throttled":
		f.add(warning, fmt.Sprintf("the server refuses for now: sse.reconnect, reason %s", shortQuote(w.reconnect)), refusedForNow(w.reconnect))
	case w.reconnect != "":
		f.add(fine, fmt.Sprintf("the server has ended the stream after %v with sse.reconnect, reason %s", round(w.ended), shortQuote(w.reconnect)))
	case w.done:
		f.add(fine, "the stream of one request is complete")
	case w.open == nil && errors.Is(w.endError, io.EOF):
		f.add(warning, fmt.Sprintf("the response was complete after %v: does the server end it, or a proxy?", round(w.ended)))
	case silence > max(w.longest+w.longest/2, w.lastByte-w.firstByte) && (beat == 0 || silence < beat): // before the first heartbeat
		f.add(fault, fmt.Sprintf("cut off %v after the request and %v after the last byte: by a limit on silence%s, or by one on the whole response, or the server or a proxy was restarted; too little came before to tell them apart", round(w.ended), round(silence), w.against(silence)), extendSilence...)
		f.do = append(f.do, inServer("in the server: StreamConfig.HeartbeatInterval at less than half of the limit"))
		f.do = append(f.do, extendLife...)
	case silence > w.longest+w.longest/2: // heartbeats of the kit vary by a third; some limits act at the next one
		f.add(fault, fmt.Sprintf("cut off %v after the request and %v after the last byte, which is much longer than any silence before: a limit on silence%s", round(w.ended), round(silence), w.against(silence)), extendSilence...)
		f.do = append(f.do, inServer("in the server: StreamConfig.HeartbeatInterval at less than half of the limit"))
	default:
		f.add(fault, fmt.Sprintf("cut off %v after the request and %v after the last byte; as it has survived a silence of %v, this is no limit on silence, but one on the whole response, or the server or a proxy was restarted", round(w.ended), round(silence), round(w.longest)), extendLife...)
	}
	d.report(f)
}

// against compares a silence with the heartbeat interval.
func (w *watched) against(silence time.Duration) string {
	beat := w.heartbeat()
	switch {
	case beat == 0:
		return ""
	case silence < beat:
		return fmt.Sprintf(" that is shorter than the heartbeat interval of %v", beat)
	default:
		return fmt.Sprintf(", though the heartbeat interval is %v", beat)
	}
}

// checkDelay compares how long the headers of streams and of other responses took. Without
// http-no-delay, HAProxy has the kernel hold back what it sends for 200 ms, unless the response ends.
func (d *doctor) checkDelay() {
	const most = 150 * time.Millisecond
	f := finding{check: "delay"}
	switch late := d.streamTook - d.otherTook; {
	case d.otherTook == 0:
		return // there is nothing to compare with
	case late > most:
		f.add(warning, fmt.Sprintf("the header of a stream comes %v later than that of another response", round(late)), undelay...)
	default:
		f.add(fine, fmt.Sprintf("the header of a stream comes after %v, that of another response after %v", round(d.streamTook), round(d.otherTook)))
	}
	d.report(f)
}

// checkResuming reconnects with the last event ID.
func (d *doctor) checkResuming(ctx context.Context, w *watched) {
	if w.firstByte == 0 || w.close != "" || w.done || w.reconnect != "" && w.open == nil {
		return // there is nothing to resume
	}
	f := finding{check: "resuming"}
	defer func() { d.report(f) }()
	if w.lastEventID == "" {
		f.add(warning, "no event had an ID, so a client that reconnects misses what was sent meanwhile", inServer("in the server: send an id with each event; the streams of a registry do"))
		return
	}
	q := d.newQuestion(false)
	q.header.Set("Last-Event-ID", w.lastEventID)
	const limit = 3 * time.Second // sse.open and sse.gap are sent at once
	again := d.read(ctx, q, min(d.patience, limit), func(w *watched) bool {
		return w.open != nil && (w.open.Resumed || w.gap != "")
	})
	switch {
	case errors.Is(again.err, context.DeadlineExceeded), w.open != nil && again.isStream() && again.firstByte == 0:
		f.add(fault, fmt.Sprintf("nothing came within %v after a request with Last-Event-ID", d.patience), inServer("the log of the server has the reason, or that of a proxy"))
	case again.err != nil:
		f.add(fault, "no response to a request with Last-Event-ID: "+again.err.Error())
	case !again.isStream():
		f.add(fault, "a request with Last-Event-ID gets "+again.describe(), refusalAdvice(again.reply)...)
	case again.reconnect != "" && again.open == nil:
		f.add(warning, "the server refuses a reconnect for now: sse.reconnect, reason "+shortQuote(again.reconnect), refusedForNow(again.reconnect))
	case again.open == nil:
		f.add(fine, "the server takes Last-Event-ID; it does not say whether it resumes")
	case again.open.Resumed:
		f.add(fine, "resumed after the last event ID")
	case again.gap == "epoch":
		f.add(warning, `a gap, reason "epoch": the last event ID is from another log`, inServer("in the server: was it restarted, or do several nodes have a log of their own each? nodes need a shared log"))
	case again.gap == "trimmed":
		f.add(warning, `a gap, reason "trimmed": events after the last event ID have left the log`, inServer("in the server: raise the bounds of the log"))
	case again.gap != "":
		f.add(warning, "a gap, reason "+shortQuote(again.gap), inServer("docs/guide.md says what the reason means"))
	default:
		f.add(fault, "the server did not get Last-Event-ID: a proxy takes it out", passLastEventID...)
	}
}
