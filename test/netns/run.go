// Package netns is a laboratory of hosts, each a set of Linux namespaces, on
// LANs that are bridges in namespaces of their own. Tests and the demo run the
// real programs on these hosts, cut cables, block paths, kill and freeze, and ask
// the Observer of a LAN who answered for an address and when, and a Prober how
// long a client went unanswered.
//
// Everything happens below Run, which re-executes the program as the second
// process of a pid namespace with mount and network namespaces of its own (and a
// user namespace where it is not root). When that program ends, however it ends,
// the kernel kills every process in there and frees every namespace, mount and
// temporary file: nothing is left behind by construction, not by clean-up code.
//
// Addresses come from 198.18.0.0/15 (RFC 2544) and fd00::/8 (RFC 4193). No
// namespace has a way out to the machine's own network.
//
// The package knows no Kubernetes and none of the product's packages.
package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stageKey names the environment variable that tells a re-executed program how
// deep it is.
const stageKey = "DAYMARK_BED"

const (
	stageInit   = "init"   // pid 1 of the new pid namespace: mounts, reaps, forwards signals
	stageInside = "inside" // the program proper
)

// scratch is where a bed keeps its temporary files: a tmpfs of its own.
const scratch = "/run"

// Run calls main in namespaces of its own and returns the exit code that the
// process should end with. Call it first thing in main or TestMain, because it
// re-executes the program with the same arguments:
//
//	func TestMain(m *testing.M) { os.Exit(netns.Run(m.Run)) }
//
// Inside, the network is an empty namespace with its loopback up, /run and
// os.TempDir are on a tmpfs, and the caller is root, if only of a user namespace.
// The outer process forwards SIGINT, SIGTERM, SIGQUIT and SIGHUP; its death ends
// everything inside.
//
// The prepare functions run before, in the outer process: the place for work that
// needs the machine's own network or files that are to stay.
func Run(main func() int, prepare ...func() error) int {
	switch os.Getenv(stageKey) {
	case stageInside:
		return main()
	case stageInit:
		return report(runInit())
	}
	for _, step := range prepare {
		if err := step(); err != nil {
			return report(1, err)
		}
	}
	return report(runOuter())
}

// Possible says why the namespaces of Run cannot be created, nil when they can. It
// tries: it starts "true" in such namespaces.
func Possible() error {
	cmd := exec.Command("true")
	cmd.SysProcAttr = isolation(os.Geteuid() != 0)
	err := cmd.Run()
	if errors.Is(err, unix.EPERM) && os.Geteuid() == 0 {
		cmd = exec.Command("true")
		cmd.SysProcAttr = isolation(true)
		err = cmd.Run()
	}
	return err
}

// Inside says whether the caller runs below Run.
func Inside() bool { return os.Getenv(stageKey) == stageInside }

func report(code int, err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "netns:", err)
		return max(code, 1)
	}
	return code
}

// runOuter starts the program again as pid 1 of new namespaces and waits for it.
func runOuter() (int, error) {
	// The kernel sends the parent-death signal when the starting thread ends, so
	// that thread must live as long as the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	defer signal.Stop(signals)

	cmd, err := startInit(os.Geteuid() != 0)
	if errors.Is(err, unix.EPERM) && os.Geteuid() == 0 {
		cmd, err = startInit(true)
	}
	if err != nil {
		return 1, fmt.Errorf("creating namespaces (user namespaces must be allowed where the caller is not root): %w", err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exitCode(exit.Sys().(syscall.WaitStatus)), nil
	}
	return 0, err
}

// startInit starts this program as stageInit; inUserNamespace gives it root in a
// user namespace, which is what a caller without privileges needs.
func startInit(inUserNamespace bool) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = environ(stageInit)
	cmd.SysProcAttr = isolation(inUserNamespace)
	return cmd, cmd.Start()
}

// isolation are the namespaces that a bed has of its own.
func isolation(inUserNamespace bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  unix.SIGKILL,
		Setpgid:    true, // so that a signal from the terminal comes once, forwarded
	}
	if inUserNamespace {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// runInit is pid 1: it mounts, starts the program proper and reaps until that
// has ended. The kernel kills the rest when it returns.
func runInit() (int, error) {
	if err := prepareMounts(); err != nil {
		return 1, err
	}
	if err := loopbackUp(); err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	pid, err := syscall.ForkExec(self, os.Args, &syscall.ProcAttr{
		Env:   append(environ(stageInside), "TMPDIR="+filepath.Join(scratch, "tmp"), "PATH="+searchPath()),
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return 1, fmt.Errorf("starting inside: %w", err)
	}
	go func() {
		for s := range signals {
			_ = syscall.Kill(pid, s.(syscall.Signal))
		}
	}()
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1, fmt.Errorf("waiting for children: %w", err)
		case got == pid:
			return exitCode(status), nil
		}
	}
}

func prepareMounts() error {
	for _, m := range []struct {
		source, target, kind, data string
		flags                      uintptr
	}{
		{"none", "/", "", "", unix.MS_REC | unix.MS_PRIVATE},
		{"proc", "/proc", "proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"bed", scratch, "tmpfs", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.source, m.target, err)
		}
	}
	return os.Mkdir(filepath.Join(scratch, "tmp"), 0o1777)
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}

// environ is the caller's environment at the given stage.
func environ(stage string) []string {
	env := []string{stageKey + "=" + stage}
	for _, kv := range os.Environ() {
		switch key, _, _ := strings.Cut(kv, "="); key {
		case stageKey, "TMPDIR", "PATH":
		default:
			env = append(env, kv)
		}
	}
	if stage == stageInit {
		env = append(env, "PATH="+os.Getenv("PATH"))
	}
	return env
}

// searchPath is PATH with the folders of system programs, which an ordinary
// user's lacks.
func searchPath() string {
	return strings.Join([]string{os.Getenv("PATH"), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/frr"}, ":")
}

// exitCode follows the shell: 128 and the signal's number for a killed process.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
