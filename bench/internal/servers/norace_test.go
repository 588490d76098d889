//go:build !race

package servers_test

// raceDetector is off.
const raceDetector = false
