//go:build !linux

package readiness

import "errors"

// Supported says whether the system has readiness sets. Without it, [New] fails.
const Supported = false

// Set is not available on this system.
type Set struct{}

// New returns [errors.ErrUnsupported].
func New(func(token uint64, e Events)) (*Set, error) { return nil, errors.ErrUnsupported }

// Add returns [errors.ErrUnsupported].
func (*Set) Add(int, uint64) error { return errors.ErrUnsupported }

// WatchWrites returns [errors.ErrUnsupported].
func (*Set) WatchWrites(int, uint64) error { return errors.ErrUnsupported }

// Close does nothing.
func (*Set) Close() error { return nil }
