package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settled is how long after its start the program has done what it does only once.
const settled = 30 * time.Second

// trimMemory gives back, once, what only the start needed: garbage, and pages of the program itself, most of which are tables and
// code for objects that it never meets. What is needed again is mapped again from the page cache.
func trimMemory(log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		timer := time.NewTimer(settled)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		debug.FreeOSMemory()
		if err := unmapProgram(); err != nil {
			log.Debug("pages of the program not given back", "err", err)
		}
		return nil
	}
}

// unmapProgram drops the pages of this program's file from the process, as far as they are just what the file says.
func unmapProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var at mapping
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if m, ok := parseMapping(lines.Text()); ok {
			at = m
		} else if at.file == exe && !at.writable && strings.HasPrefix(lines.Text(), "VmFlags:") && at.changed == 0 {
			if _, _, errno := unix.Syscall(unix.SYS_MADVISE, at.from, at.to-at.from, unix.MADV_DONTNEED); errno != 0 {
				return fmt.Errorf("madvise: %w", errno)
			}
		} else if value, ok := strings.CutPrefix(lines.Text(), "Anonymous:"); ok {
			at.changed, err = strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			if err != nil {
				at.changed = 1
			}
		}
	}
	return nil
}

// mapping is one of the process's, as /proc/self/smaps tells it; see proc_pid_smaps(5).
type mapping struct {
	from, to uintptr
	writable bool
	file     string
	changed  int64 // KiB that are not the file's any more
}

func parseMapping(line string) (m mapping, ok bool) {
	f := strings.Fields(line)
	if len(f) < 5 || strings.HasSuffix(f[0], ":") {
		return m, false
	}
	from, to, ok := strings.Cut(f[0], "-")
	a, err1 := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	if !ok || err1 != nil || err2 != nil {
		return m, false
	}
	m = mapping{from: uintptr(a), to: uintptr(b), writable: strings.Contains(f[1], "w")}
	if len(f) > 5 {
		m.file = f[5]
	}
	return m, true
}
