package loadtest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"syscall"
)

// kindOf returns what kind an error of a connection is, without addresses, which would make each
// error one of its own.
func kindOf(err error) string {
	var refused refusal
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var errno syscall.Errno
	switch {
	case errors.As(err, &refused):
		return refused.kind
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no response in time"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "no local port is left for the server's address: use several machines or addresses of the server"
	case errors.Is(err, syscall.EMFILE):
		return "no descriptor is left: raise the limit of open files"
	case errors.As(err, &dns):
		return "the host's name cannot be resolved"
	case errors.As(err, &certificate):
		return "TLS: " + short(certificate.Err.Error())
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "cut off within the response"
	case errors.As(err, new(textproto.ProtocolError)), strings.Contains(err.Error(), "failed to parse Location header"):
		return "the header of the response is malformed" // err quotes it, and it may have a cookie or a token
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return short(strings.TrimPrefix(err.Error(), "net/http: "))
}
