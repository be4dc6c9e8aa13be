// Package wrongclock runs a program whose wall clock is wrong, on a kernel whose clock is right.
//
// Linux has no namespace for CLOCK_REALTIME: time_namespaces(7) shift CLOCK_MONOTONIC and CLOCK_BOOTTIME alone, and setting the
// clock would set the whole machine's. So the program is made to ask the kernel for the time, by hiding from it the vDSO that
// answers without a system call, and its questions for CLOCK_REALTIME are answered by its parent (seccomp_unotify(2)). The
// program itself is unchanged, and everything else that it sees is true, its monotonic clock too.
//
// What is not shown so: time stamps that the kernel makes, and other programs of the same node.
package wrongclock

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	programKey = "DAYMARK_WRONG_CLOCK_PROGRAM"
	offsetKey  = "DAYMARK_WRONG_CLOCK_OFFSET"
	stageKey   = "DAYMARK_WRONG_CLOCK_STAGE" // set in the process that becomes the program
	socket     = 3                           // where that process finds the socket to its parent
)

// Env is the environment that makes this executable run program with a wrong clock, in its own place and with its arguments.
// The file has how far the clock is off, as [time.ParseDuration] reads it, and may change at any time; without it the clock is
// right.
func Env(program, offsetFile string) []string {
	return []string{programKey + "=" + program, offsetKey + "=" + offsetFile}
}

// Main is to be called first thing by the executable. When [Env] asks for it, it runs the program to its end and returns its
// exit code and true.
func Main() (code int, asked bool) {
	program := os.Getenv(programKey)
	if program == "" {
		return 0, false
	}
	run := supervise
	if os.Getenv(stageKey) != "" {
		run = become
	}
	code, err := run(program)
	if err != nil {
		fmt.Fprintln(os.Stderr, "wrongclock:", err)
		return 1, true
	}
	return code, true
}

// supervise starts the program and answers its questions. Signals to the process group reach the program by themselves.
func supervise(string) (int, error) {
	signal.Ignore(unix.SIGTERM, unix.SIGINT)
	runtime.LockOSThread() // the parent-death signal is the thread's
	defer runtime.UnlockOSThread()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 1, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "socket")
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageKey+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	if err := theirs.Close(); err != nil {
		return 1, err
	}
	listener, err := receiveFile(pair[0])
	if err == nil {
		go answer(listener, os.Getenv(offsetKey))
	}
	if failed := cmd.Wait(); cmd.ProcessState == nil {
		return 1, errors.Join(err, failed)
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), err
	}
	return status.ExitStatus(), err
}

// become has this process's questions for the time sent to its parent, and makes it the program.
func become(program string) (int, error) {
	runtime.LockOSThread() // the filter is the thread's, and what it executes inherits it
	unix.CloseOnExec(socket)
	listener, err := filterThread()
	if err != nil {
		return 1, fmt.Errorf("installing the filter: %w", err)
	}
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
		return 1, fmt.Errorf("sending the listener: %w", err)
	}
	env := []string{}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "DAYMARK_WRONG_CLOCK_") {
			env = append(env, kv)
		}
	}
	return 1, syscall.Exec(program, append([]string{program}, os.Args[1:]...), env)
}

func receiveFile(from int) (int, error) {
	buf, control := make([]byte, 1), make([]byte, 64)
	_, n, _, _, err := unix.Recvmsg(from, buf, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("receiving the listener: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("receiving the listener: %d messages: %w", len(messages), err)
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(files) != 1 {
		return -1, fmt.Errorf("receiving the listener: %d files: %w", len(files), err)
	}
	return files[0], nil
}

// offset reads how far the clock is off.
func offset(file string) time.Duration {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	d, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return d
}

// startOfStack returns where the kernel put argc for a process (proc_pid_stat(5), startstack).
func startOfStack(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // from field 3 on
	fields := strings.Fields(rest)
	if len(fields) < 26 {
		return 0, errors.New("no startstack")
	}
	return strconv.ParseInt(fields[25], 10, 64)
}
