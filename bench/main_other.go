//go:build !linux

package main

import "log"

func main() { log.Fatal("bench: it measures with what Linux has: epoll, /proc") }
