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
// what it announced would hold the stream there, so these reads are bounded.
//
// A read deadline does harm in all other cases, and outlives the request:
//
//   - When the body has been read, net/http watches the connection for its end. A
//     deadline ends that watch: with it the request's context, and those of all later
//     requests on the connection.
//   - With http.ResponseController.EnableFullDuplex, net/http uses the connection again
//     although it could not read the rest of the body. The rest, if it comes later, would
//     then be taken for a request.
//
// So a deadline is set only for a read that seems to wait, and afterwards only on a
// connection that net/http is certain to close. Whether a read waits cannot be told for
// sure: if it has come to the deadline, the connection must not be used again.

// bodyComplete reports whether the whole body of r has certainly been read. It
// neither waits nor reads any of it.
func bodyComplete(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.ContentLength == 0 {
		return true
	}
	if r.ContentLength < 0 {
		return false
	}
	switch serverBody(r.Body) {
	case "body", "maxBytesReader":
		_, err := r.Body.Read(nil)
		return isBodyEnd(err)
	}
	return false
}

// willClose reports whether net/http is certain to close the connection after the response,
// because the whole body has not been read. interrupted says that reads of it have been
// made to fail. The headers have been sent.
func willClose(r *http.Request, interrupted bool) bool {
	switch kind := serverBody(r.Body); {
	case r.ProtoMajor != 1 || r.ContentLength == 0:
		return false
	case kind == "expectContinueReader" && r.ContentLength > 0:
		// Not if it was read before the headers; after them it is not asked for any more.
	case kind == "body" && interrupted && r.Context().Err() != nil:
		// net/http ends the context when a read fails: without that, there was none.
	default:
		return false
	}
	_, err := r.Body.Read(nil)
	return !isBodyEnd(err)
}

func isBodyEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, http.ErrBodyReadAfterClose)
}

// serverBody returns the name of the type of a body that net/http made, and "" for one
// that middleware has put in its place.
func serverBody(body io.ReadCloser) string {
	t := reflect.TypeOf(body)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().PkgPath() != "net/http" {
		return ""
	}
	return t.Elem().Name()
}

// bodyGrace is how long net/http may read the rest of a body on a connection that it
// closes afterwards. A connection that is closed with data unread is reset, and the
// client may lose the end of the response.
const bodyGrace = 2 * time.Second

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
