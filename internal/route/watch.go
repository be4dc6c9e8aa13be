package route

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watch calls changed when a route has gone from the table or a link has changed, until ctx ends; then it returns nil.
func watch(ctx context.Context, table int, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("watching routes: %w", err)
	}
	file := os.NewFile(uintptr(fd), "netlink")
	defer func() { _ = file.Close() }()
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return fmt.Errorf("watching routes: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Now()) })
	defer stop()
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watching routes: %w", err)
	}
	b := make([]byte, 64<<10)
	for {
		err := raw.Read(func(fd uintptr) bool {
			any, news := drain(int(fd), b, table)
			if news {
				changed()
			}
			return any
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watching routes: %w", err)
		}
	}
}

// drain reads all that there is, and reports whether there was anything, and whether some of it matters. Lost notifications
// do.
func drain(fd int, b []byte, table int) (any, news bool) {
	for ; ; any = true {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EAGAIN:
			return any, news
		case err == unix.ENOBUFS:
			news = true
		case err == unix.EINTR:
		case err != nil:
			return true, news
		default:
			news = news || matters(b[:n], table)
		}
	}
}

// matters reports whether one of the messages in b tells of a changed link, or of a route that is gone from the table.
func matters(b []byte, table int) bool {
	for len(b) >= unix.NLMSG_HDRLEN {
		size, kind := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return false
		}
		switch payload := b[unix.NLMSG_HDRLEN:size]; {
		case kind == unix.RTM_NEWLINK, kind == unix.RTM_DELLINK:
			return true
		case kind == unix.RTM_DELROUTE && len(payload) >= unix.SizeofRtMsg:
			// Numbers that don't fit are told in an attribute, which isn't worth the reading here.
			if in := int(payload[4]); in == table || in == unix.RT_TABLE_COMPAT && table > 255 {
				return true
			}
		}
		b = b[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
	}
	return false
}
