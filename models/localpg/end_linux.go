package localpg

import "syscall"

// endWithParent has the kernel end the server when its supervisor is killed: SIGINT is its fast, clean shutdown.
func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGINT }
