package datapath_test

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"daymark/internal/datapath"
	"daymark/internal/vip"
	"daymark/test/netns"
)

const right = 5 * time.Second

var (
	hold = flag.String("hold", "", "hold these addresses on a link until killed: link,address,...")
	held = flag.Duration("held", right, "for how long, each time")
)

// holder starts a process that holds addresses, renewing a right of 5 s again and again.
func holder(t *testing.T, link string, addrs ...string) (*exec.Cmd, time.Duration) {
	t.Helper()
	return holderFor(t, right, link, addrs...), right
}

// holderFor starts a process that holds addresses, with a right of that length again and again.
func holderFor(t *testing.T, right time.Duration, link string, addrs ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-held", right.String(), "-hold", link+","+strings.Join(addrs, ","))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// beHolder is what the process of holder does.
func beHolder() error {
	parts := strings.Split(*hold, ",")
	k, err := datapath.Open(datapath.Config{})
	if err != nil {
		return err
	}
	for {
		var want []vip.Address
		for _, a := range parts[1:] {
			want = append(want, vip.Address{Prefix: netip.MustParsePrefix(a), Link: parts[0], Until: time.Now().Add(*held)})
		}
		if err := k.Set(context.Background(), want); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		<-time.After(right / 20)
	}
}

// other adds an address with the mark of another program, which older ip programs can't.
func other(t *testing.T, link, prefix string, proto byte) {
	t.Helper()
	p := netip.MustParsePrefix(prefix)
	ifi := index(t, link)
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_ACK)
	msg := nl.NewIfAddrmsg(unix.AF_INET)
	msg.Prefixlen, msg.Index = uint8(p.Bits()), uint32(ifi)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(11, []byte{proto}))
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		t.Fatal(err)
	}
}

func index(t *testing.T, link string) int {
	t.Helper()
	k := open(t, datapath.Config{})
	for _, l := range k.Links() {
		if l.Name == link {
			return l.Index
		}
	}
	t.Fatalf("no link %s", link)
	return 0
}

// unixDump returns what the kernel answers to a dump.
func unixDump(kind int) ([]byte, error) { return syscall.NetlinkRIB(kind, unix.AF_UNSPEC) }

// watch records every change of an address until it is asked for the record, and has what that is to have at least: "+" or "-" and the
// address. The kernel tells of a new IPv6 address some time after it was added.
func watch(t *testing.T) func(atLeast ...string) []string {
	t.Helper()
	cmd := exec.Command("ip", "-o", "monitor", "address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 10000)
	go func() {
		defer close(lines)
		b := make([]byte, 1<<16)
		for rest := ""; ; {
			n, err := out.Read(b)
			if err != nil {
				return
			}
			rest += string(b[:n])
			for line, after, ok := strings.Cut(rest, "\n"); ok; line, after, ok = strings.Cut(rest, "\n") {
				rest = after
				lines <- line
			}
		}
	}()
	// It listens when it reports an address made for that.
	netns.IP(t, "address add 127.0.0.99/32 dev lo")
	for {
		netns.IP(t, "address change 127.0.0.99/32 dev lo")
		select {
		case <-lines:
		case <-time.After(20 * time.Millisecond):
			continue
		}
		break
	}
	return func(atLeast ...string) []string {
		netns.IP(t, "address del 127.0.0.99/32 dev lo")
		var got []string
		over := false
		for line := range lines {
			sign := "+"
			if strings.HasPrefix(line, "Deleted") {
				sign, line = "-", strings.TrimPrefix(line, "Deleted ")
			}
			f := strings.Fields(line)
			switch {
			case f[3] == "127.0.0.99/32" && sign == "-":
				over = true
			case f[3] != "127.0.0.99/32" && !strings.HasPrefix(f[3], "fe80:"):
				got = append(got, sign+f[3])
			}
			if over && !slices.ContainsFunc(atLeast, func(l string) bool { return !slices.Contains(got, l) }) {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				return got
			}
		}
		return got
	}
}
