//go:build !linux

package servers

import "errors"

func newFloor(Settings) (Server, error) {
	return Server{}, errors.New("the floor needs Linux")
}
