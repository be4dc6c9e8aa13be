package wrongclock

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// question and reply are struct seccomp_notif and struct seccomp_notif_resp of linux/seccomp.h.
type question struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type reply struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// filterThread makes the kernel ask whoever has the returned file about this thread's clock_gettime of wall clocks, and about
// firstCall.
func filterThread() (listener int, err error) {
	const nr, arch, firstArgument = 0, 4, 16 // offsets in struct seccomp_data
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: arch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: auditArch, SkipTrue: 6},
		bpf.LoadAbsolute{Off: nr, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: firstCall, SkipTrue: 5},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_CLOCK_GETTIME, SkipTrue: 3},
		bpf.LoadAbsolute{Off: firstArgument, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.CLOCK_REALTIME, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.CLOCK_REALTIME_COARSE, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF},
	})
	if err != nil {
		return -1, err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// answer answers questions until there is nobody left to ask.
func answer(listener int, offsetFile string) {
	for {
		var q question
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&q)))
		if errno == unix.EINTR || errno == unix.ENOENT { // who asked was interrupted or killed meanwhile
			continue
		}
		if errno != 0 {
			return
		}
		r := reply{id: q.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if q.nr == firstCall {
			if err := hideVDSO(int(q.pid)); err != nil {
				fmt.Fprintln(os.Stderr, "wrongclock: hiding the vDSO:", err)
			}
		} else if err := tell(int(q.pid), q.args[1], time.Now().Add(offset(offsetFile))); err == nil {
			r.flags = 0
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r))) // it may be gone
	}
}

// tell writes now to where the process wants it: a struct timespec.
func tell(pid int, at uint64, now time.Time) error {
	text := binary.NativeEndian.AppendUint64(nil, uint64(now.Unix()))
	text = binary.NativeEndian.AppendUint64(text, uint64(now.Nanosecond()))
	local := []unix.Iovec{{Base: &text[0], Len: uint64(len(text))}}
	_, err := unix.ProcessVMWritev(pid, local, []unix.RemoteIovec{{Base: uintptr(at), Len: len(text)}}, 0)
	return err
}

// hideVDSO takes the vDSO off the auxiliary vector of a process that has not read it yet (getauxval(3), AT_SYSINFO_EHDR).
func hideVDSO(pid int) error {
	const atIgnore, atSysinfoEHDR, word = 1, 33, 8
	at, err := startOfStack(pid)
	if err != nil {
		return err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	stack := make([]byte, 256<<10)
	n, _ := mem.ReadAt(stack, at) // up to the end of the stack
	value := func(i int) uint64 {
		if (i+1)*word > n {
			return 0
		}
		return binary.NativeEndian.Uint64(stack[i*word:])
	}
	i := 1 + int(value(0)) + 1 // argc, argv, 0
	for ; value(i) != 0; i++ { // environment, 0
	}
	for i++; value(i) != 0; i += 2 {
		if value(i) == atSysinfoEHDR {
			_, err := mem.WriteAt(binary.NativeEndian.AppendUint64(nil, atIgnore), at+int64(i*word))
			return err
		}
	}
	return nil // hidden already
}
