//go:build race

package servers_test

// raceDetector is on.
const raceDetector = true
