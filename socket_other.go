//go:build !linux

package ginsse

import (
	"errors"
	"net"
)

// No stream is compact, so these functions are not called.

const noDescriptor = -1

func duplicate(net.Conn) (int, error)             { return noDescriptor, errors.ErrUnsupported }
func limitUnsent(int, int)                        {}
func writeSocket(int, []byte) (int, bool, error)  { return 0, false, errors.ErrUnsupported }
func readSocket(int, []byte) (int, bool, error)   { return 0, false, errors.ErrUnsupported }
func shutdownSocket(int) error                    { return errors.ErrUnsupported }
func closeSocket(int) error                       { return errors.ErrUnsupported }
func connectionOfSocket(int) (unknown connection) { return unknown }
