package datapath

import (
	"context"
	"log/slog"
	"os"
	"time"

	"daymark/internal/vip"
)

// What the tests of this package look at from outside.
var Lifetime = lifetime

// UsableAfter is usableAfter.
const UsableAfter = usableAfter

var parseTime = time.Unix(0, 0)

// ParseAll reads everything in b as the kernel's notifications are read.
func ParseAll(b []byte) {
	for len(b) > 0 {
		m, rest, err := nextMessage(b)
		if err != nil {
			return
		}
		_, _, _ = parseEvent(m, parseTime)
		_ = parseResult(m.payload, true)
		b = rest
	}
}

// ToldOf changes the kernel to want as Set does, and returns how many notifications k got of that.
func (k *Kernel) ToldOf(want ...vip.Address) (n int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state.setWant(want)
	ops, _ := k.state.plan(time.Now())
	if _, err := k.requests.change(ops); err != nil {
		return 0, err
	}
	err = k.notes.drain(func(event) { n++ })
	return n, err
}

// Through has k ask the kernel through another socket, and returns the one that it had.
func (k *Kernel) Through(fd int) (before int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before, k.requests.fd = k.requests.fd, fd
	return before
}

// ToldBy has k's kernel speak through another socket. Run must not be running.
func (k *Kernel) ToldBy(fd int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.notes.file.Close()
	k.notes.file = os.NewFile(uintptr(fd), "netlink")
}

// FollowDefaults is WatchDefaults on a node without links, whose routes are read by read and whose kernel speaks through told.
func FollowDefaults(ctx context.Context, log *slog.Logger, read func() ([]Default, error), told <-chan struct{}, changed func([]Default)) {
	k := &Kernel{log: log, routes: read, state: &state{}}
	k.followDefaults(ctx, told, make(chan struct{}), changed)
}
