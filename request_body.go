package ginsse

import (
	"errors"
	"io"
	"net/http"
	"reflect"
	"sync/atomic"
	"time"
)

// On HTTP/1 net/http reads the rest of a request's body in two places: before it sends the headers,
// and after the handler has returned. A client that withholds an announced body would block the
// stream there, so these reads need a time limit.
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
// So a deadline is set only while a read seems to wait, and afterwards only on a connection that
// net/http is certain to close. It is not possible to know for certain that a read waits. If the
// deadline has passed, the connection must therefore not be reused.

// bodyComplete reports whether the whole body of r has certainly been read. It neither waits nor
// reads.
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

// willClose reports whether net/http is certain to close the connection after the response because
// the body has not been read completely. interrupted means that reads of the body were made to
// fail. It must be called after the headers were sent.
func willClose(r *http.Request, interrupted bool) bool {
	switch kind := serverBody(r.Body); {
	case r.ProtoMajor != 1 || r.ContentLength == 0:
		return false
	case kind == "expectContinueReader" && r.ContentLength > 0:
		// The rest of the function checks whether the body was read before the headers were sent.
		// Later net/http does not ask for it.
	case kind == "body" && interrupted && r.Context().Err() != nil:
		// net/http ends the context when a read fails, so a read has failed.
	default:
		return false
	}
	_, err := r.Body.Read(nil)
	return !isBodyEnd(err)
}

func isBodyEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, http.ErrBodyReadAfterClose)
}

// serverBody returns the type name of a body that net/http made, and "" for a body that middleware
// has replaced.
func serverBody(body io.ReadCloser) string {
	t := reflect.TypeOf(body)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().PkgPath() != "net/http" {
		return ""
	}
	return t.Elem().Name()
}

// bodyGrace is how long net/http may read the rest of a body before it closes a connection. Closing
// a connection with unread data resets it, and the client may lose the end of the response.
const bodyGrace = 2 * time.Second

// interruptRead makes reads of the request's body fail after d, until done is called. done reports
// whether d has passed.
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
