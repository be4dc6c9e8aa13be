package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// kinds are the namespaces that a host has of its own, in the order in which they
// are entered: the network last, since /proc/thread-self is needed until then.
var kinds = [...]struct {
	name string
	flag int
}{{"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET}, {"mnt", unix.CLONE_NEWNS}}

// namespaces holds a host's namespaces open. They live as long as these files,
// a process or a socket in them. The zero value stands for the caller's own.
type namespaces [len(kinds)]*os.File

// newNamespaces creates namespaces with the given host name, a sysfs of their
// network, and an /etc whose changes go to a folder below dir.
func newNamespaces(name, dir string) (ns namespaces, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("creating namespaces of %s: %w", name, err)
		}
		if err := unix.Sethostname([]byte(name)); err != nil {
			return fmt.Errorf("naming host %s: %w", name, err)
		}
		if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("making mounts of %s private: %w", name, err)
		}
		// Where sysfs may not be mounted (parts of it hidden by a container), the
		// outer one stays: it names other links, and no program of ours reads it.
		_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		if err := mountEtc(dir); err != nil {
			return fmt.Errorf("giving %s its own /etc: %w", name, err)
		}
		for i, kind := range kinds {
			if ns[i], err = os.Open("/proc/thread-self/ns/" + kind.name); err != nil {
				return errors.Join(err, ns.close())
			}
		}
		return nil
	})
	return ns, err
}

// mountEtc lays a writable layer over /etc. Without it a test that writes a
// host's /etc/hosts would write the machine's.
func mountEtc(dir string) error {
	upper, work := filepath.Join(dir, "etc"), filepath.Join(dir, ".work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s", upper, work)
	err := unix.Mount("overlay", "/etc", "overlay", 0, options)
	if err != nil { // in a user namespace
		err = unix.Mount("overlay", "/etc", "overlay", 0, options+",userxattr")
	}
	return err
}

// do runs f on a thread inside the namespaces. Sockets and processes that f
// makes belong there for good; goroutines that it starts do not.
func (ns namespaces) do(f func() error) error {
	if ns == (namespaces{}) {
		return f()
	}
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil { // else the mount namespace may not be entered
			return fmt.Errorf("leaving shared file system state: %w", err)
		}
		for i, kind := range kinds {
			if err := unix.Setns(int(ns[i].Fd()), kind.flag); err != nil {
				return fmt.Errorf("entering %s namespace: %w", kind.name, err)
			}
		}
		return f()
	})
}

func (ns namespaces) close() error {
	var errs []error
	for _, f := range ns {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// onThread runs f on a thread that dies with it, so that what f does to its
// thread stays there. Never the main thread: that is the one /proc/self shows.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread() // holds the main thread, so the next gets another
			result <- onThread(f)
			return
		}
		result <- f() // no unlock: the runtime ends the thread with the goroutine
	}()
	return <-result
}
