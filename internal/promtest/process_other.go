//go:build !linux

package promtest

import "syscall"

func processAttributes() *syscall.SysProcAttr { return nil }
