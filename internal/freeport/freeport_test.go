package freeport_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/ginsse/ginsse/internal/freeport"
)

func TestAddressesAreFreeAndDiffer(t *testing.T) {
	t.Parallel()
	seen := make(map[netip.AddrPort]bool)
	for range 100 {
		address, err := freeport.Address()
		if err != nil {
			t.Fatal(err)
		}
		if seen[address] || !address.Addr().IsLoopback() || address.Port() < 10_000 || address.Port() >= 30_000 {
			t.Fatalf("got %v after %v", address, seen)
		}
		seen[address] = true
		listener, err := net.Listen("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
	}
}
