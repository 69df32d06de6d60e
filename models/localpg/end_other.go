//go:build !linux

package localpg

import "syscall"

// endWithParent is the kernel's to do, and only Linux does it: elsewhere a killed supervisor leaves the server until the next start.
func endWithParent(*syscall.SysProcAttr) {}
