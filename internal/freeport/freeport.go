// Package freeport finds ports for servers of tests that cannot choose one themselves, or that are
// started again at the same address.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
)

// The ports are below those that systems give to connections and to servers that do not choose. So
// nothing takes one before the server starts, or while it is stopped.
const (
	first = 10_000
	count = 20_000
)

// next counts the ports. It begins at random, because other processes do the same.
var next = func() *atomic.Uint32 {
	n := new(atomic.Uint32)
	n.Store(rand.Uint32N(count))
	return n
}()

// Address returns an address of the IPv4 loopback on which nothing listens, and which the process has not
// had yet.
func Address() (netip.AddrPort, error) {
	for range 1000 {
		port := uint16(first + next.Add(1)%count)
		address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
		listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
		if err == nil {
			return address, listener.Close()
		}
	}
	return netip.AddrPort{}, errors.New("no port is free")
}
