//go:build race

package servers_test

// raceDetector reports whether the race detector is on.
const raceDetector = true
