package promtest

import "syscall"

// processAttributes ends the process with this one. It has a group of its own: an interrupt at the
// terminal ends this process, which ends it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
