//go:build !linux

package readiness_test

import (
	"errors"
	"testing"

	"github.com/ginsse/ginsse/internal/readiness"
)

func TestNewIsUnsupported(t *testing.T) {
	t.Parallel()
	if _, err := readiness.New(nil); readiness.Supported || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("New: %v, supported: %t", err, readiness.Supported)
	}
}
