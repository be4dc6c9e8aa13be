package wrongclock

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_X86_64
	// firstCall is what a program does before it looks for the vDSO: arch_prctl sets up its thread-local storage.
	firstCall = unix.SYS_ARCH_PRCTL
)

// Possible says why this does not work here, nil where it does.
func Possible() error { return nil }
