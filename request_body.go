package ginsse

import (
	"errors"
	"io"
	"net/http"
	"reflect"
	"sync/atomic"
	"time"
)

// On HTTP/1 net/http reads what is left of a request's body in two places: before
// it sends the headers, and when the handler has returned. A client that withholds
// what it announced would hold the stream there, so these reads are bounded. But
// once the body has been read, net/http watches the connection for its end, and a
// read deadline would end that watch: with it the request's context, and those of
// all later requests on the connection. So a deadline is set only for a read that
// waits.

// bodyComplete reports whether the whole body of r has certainly been read. It
// neither waits nor reads any of it.
func bodyComplete(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.ContentLength == 0 || r.Body == nil {
		return true
	}
	if r.ContentLength < 0 || !isServerBody(r.Body) {
		return false
	}
	_, err := r.Body.Read(nil)
	return isBodyEnd(err)
}

// outstanding reports whether some of the body has not come by now. It may read a
// byte of it: the stream is over.
func (w *writer) outstanding(r *http.Request) bool {
	if !isServerBody(r.Body) {
		return w.withheld // middleware has read net/http's body to make this one
	}
	done := interruptRead(w.ResponseWriter, bodyGrace)
	_, err := r.Body.Read(make([]byte, 1))
	return done() || !isBodyEnd(err)
}

// bodyGrace is how long the rest of a body is waited for when the stream is over.
const bodyGrace = 50 * time.Millisecond

// isServerBody reports whether a body is net/http's, not one that middleware has put
// in its place.
func isServerBody(body io.ReadCloser) bool {
	t := reflect.TypeOf(body)
	return t != nil && t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "net/http"
}

func isBodyEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, http.ErrBodyReadAfterClose)
}

// interruptRead has reads of the request's body fail after d, until done is called,
// which reports whether it has come to that.
func interruptRead(w http.ResponseWriter, d time.Duration) (done func() bool) {
	control := http.NewResponseController(w)
	var reading atomic.Bool
	reading.Store(true)
	interrupted := make(chan struct{})
	timer := time.AfterFunc(d, func() {
		defer close(interrupted)
		if reading.Load() {
			_ = control.SetReadDeadline(time.Unix(1, 0))
		}
	})
	return func() bool {
		reading.Store(false)
		if timer.Stop() {
			return false
		}
		<-interrupted
		_ = control.SetReadDeadline(time.Time{})
		return true
	}
}
