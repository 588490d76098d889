//go:build !linux

package main

import "log"

func main() { log.Fatal("bench: it needs Linux, because it uses epoll and /proc") }
