//go:build !linux

package main

import "log"

func main() { log.Fatal("drill: it needs Linux, because it limits and stops processes") }
