package netns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Cut takes the host's cables out: its links lose their carrier, and nothing gets
// in or out on any LAN.
func (h *Host) Cut() error { return h.CutFrom(h.lans...) }

// Mend puts the cables back in.
func (h *Host) Mend() error { return h.MendTo(h.lans...) }

// CutFrom takes out the cables to the LANs given.
func (h *Host) CutFrom(lans ...*LAN) error { return h.eachPort((*netlink.Handle).LinkSetDown, lans) }

// MendTo puts the cables to the LANs given back in.
func (h *Host) MendTo(lans ...*LAN) error { return h.eachPort((*netlink.Handle).LinkSetUp, lans) }

// eachPort does something to the switch's end of the host's cable to each of the LANs.
func (h *Host) eachPort(do func(*netlink.Handle, netlink.Link) error, lans []*LAN) error {
	var errs []error
	for _, lan := range lans {
		link, err := lan.netlink.LinkByIndex(lan.portOf(h).index)
		if err == nil {
			err = do(lan.netlink, link)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cable of %s on %s: %w", h.name, lan.name, err))
		}
	}
	return errors.Join(errs...)
}

// PowerOff is the sudden death of a machine: its cables go dead at once and then
// every command on it.
func (h *Host) PowerOff() error {
	return errors.Join(h.Cut(), h.KillAll())
}

// Freeze stops every command on the host with SIGSTOP. Its kernel goes on, and
// goes on answering for its addresses.
func (h *Host) Freeze() error { return h.signalAll(unix.SIGSTOP) }

// Thaw lets the commands of a frozen host go on.
func (h *Host) Thaw() error { return h.signalAll(unix.SIGCONT) }

// Path is traffic of a host that Block can stop. Zero fields match everything, so
// that the zero Path is all of the host's traffic, save ARP.
type Path struct {
	Peer     netip.Prefix // the other end
	Protocol string       // "tcp" or "udp"; needed with Port
	Port     uint16       // of either end
	Local    bool         // also stop traffic that does not leave the host
}

// Block drops the packets of the given paths, both ways, until the returned
// function is called. Links stay up, and ARP still answers: what is broken is the
// path, not the cable. Needs nft.
func (h *Host) Block(ctx context.Context, paths ...Path) (mend func(context.Context) error, err error) {
	h.mu.Lock()
	h.blocks++
	table := fmt.Sprintf("bed_block_%d", h.blocks)
	h.mu.Unlock()
	var rules strings.Builder
	fmt.Fprintf(&rules, "table inet %s {\n", table)
	for _, hook := range []struct{ name, peer, link string }{
		{"input", "saddr", "iifname"}, {"output", "daddr", "oifname"}, {"forward", "saddr", "iifname"}, {"forward", "daddr", "oifname"},
	} {
		fmt.Fprintf(&rules, "chain %s_%s { type filter hook %s priority -500; policy accept;\n", hook.name, hook.peer, hook.name)
		for _, p := range paths {
			rules.WriteString(p.rule(hook.peer, hook.link))
		}
		rules.WriteString("}\n")
	}
	rules.WriteString("}\n")
	if _, err := h.RunInput(ctx, rules.String(), "nft", "-f", "-"); err != nil {
		return nil, fmt.Errorf("blocking: %w", err)
	}
	return func(ctx context.Context) error {
		_, err := h.Run(ctx, "nft", "delete", "table", "inet", table)
		return err
	}, nil
}

// rule renders a path as nftables lines; peer is "saddr" or "daddr", whichever is
// the other end's, and link the side the packet crosses.
func (p Path) rule(peer, link string) string {
	var match strings.Builder
	if !p.Local {
		fmt.Fprintf(&match, "%s != lo ", link)
	}
	if p.Peer.IsValid() {
		family := "ip"
		if p.Peer.Addr().Is6() {
			family = "ip6"
		}
		fmt.Fprintf(&match, "%s %s %s ", family, peer, p.Peer.Masked())
	}
	if p.Port == 0 {
		if p.Protocol != "" {
			fmt.Fprintf(&match, "meta l4proto %s ", p.Protocol)
		}
		return match.String() + "drop\n"
	}
	return fmt.Sprintf("%[1]s%[2]s sport %[3]d drop\n%[1]s%[2]s dport %[3]d drop\n", match.String(), p.Protocol, p.Port)
}

// Silence makes the LANs lose every frame from and to the host while its links
// stay up: a broken switch, of which the host sees nothing. Needs nft.
func (h *Host) Silence(ctx context.Context) (mend func(context.Context) error, err error) {
	var mends []func(context.Context) error
	mend = func(ctx context.Context) error {
		var errs []error
		for _, m := range mends {
			errs = append(errs, m(ctx))
		}
		return errors.Join(errs...)
	}
	for _, lan := range h.lans {
		table := "silence_" + strings.ReplaceAll(h.name, "-", "_")
		rules := fmt.Sprintf(`table bridge %[1]s {
			chain in { type filter hook prerouting priority -500; iifname %[2]q drop; }
			chain out { type filter hook postrouting priority 500; oifname %[2]q drop; }
		}`, table, h.name)
		if err := lan.nft(ctx, rules); err != nil {
			return mend, errors.Join(err, mend(ctx))
		}
		mends = append(mends, func(ctx context.Context) error { return lan.nft(ctx, "delete table bridge "+table) })
	}
	return mend, nil
}

// nft applies rules in the LAN's namespace.
func (lan *LAN) nft(ctx context.Context, rules string) error {
	cmd, _, stderr := commandWithBuffers(ctx, rules, []string{"nft", "-f", "-"})
	if err := lan.ns.do(cmd.Start); err != nil {
		return fmt.Errorf("starting nft in LAN %s: %w", lan.name, err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("applying rules in LAN %s: %w: %s", lan.name, err, stderr)
	}
	return nil
}
