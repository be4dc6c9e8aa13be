package datapath

import (
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"daymark/internal/vip"
)

// subnet is what IPv4 addresses of one prefix length on a link share. The kernel calls the first of them primary and the others secondary,
// and removes these with it, unless promote_secondaries is set (inet_del_ifa in net/ipv4/devinet.c).
type subnet struct {
	index  int
	prefix netip.Prefix
}

// planKeepers appends to ops what keeps an address answered for that the kernel removes with one of removals: the same with its full length,
// beside its own, which the next plan restores before it removes the keeper. It returns the removals that can be made at once.
func (s *state) planKeepers(ops, removals []op, refused map[vip.Key]error, now time.Time) (_, _ []op) {
	primaries := s.primaries(removals)
	if len(primaries) == 0 {
		return ops, removals
	}
	for _, want := range s.order {
		key, index := want.Key(), s.byName[want.Link]
		if _, hit := primaries[subnet{index, want.Prefix.Masked()}]; !hit || refused[key] != nil {
			continue
		}
		full := netip.PrefixFrom(key.Addr, key.Addr.BitLen())
		if slices.ContainsFunc(s.addrs[slot{index, key.Addr}], func(e entry) bool { return e.prefix == full }) {
			removals = deleteIf(removals, func(o op) bool { return o.index == index && o.prefix == full })
			continue
		}
		keeper := op{key: key, keeper: true, entry: s.attributes(want, index), until: want.Until}
		keeper.prefix = full
		if !want.Until.IsZero() {
			keeper.valid = lifetime(want.Until.Sub(now))
		}
		if keeper.valid > 0 && !s.written[slot{index, key.Addr}].spent(want, now) {
			ops = append(ops, keeper)
		}
	}
	return ops, removals
}

// primaries returns where one of removals may be primary to others, and isn't replaced by the kernel, with the link's name. Which of ours came first the kernel
// alone knows, and it doesn't matter where somebody else's address is primary to all of ours.
func (s *state) primaries(removals []op) map[subnet]string {
	found := map[subnet]string{}
	for _, o := range removals {
		if o.prefix.Addr().Is4() && !o.prefix.IsSingleIP() {
			found[subnet{o.index, o.prefix.Masked()}] = o.key.Link
		}
	}
	if len(found) == 0 {
		return nil
	}
	for at, entries := range s.addrs {
		for _, e := range entries {
			if at.addr.Is4() && !s.ours(e) && e.flags&unix.IFA_F_SECONDARY == 0 {
				delete(found, subnet{at.index, e.prefix.Masked()})
			}
		}
	}
	maps.DeleteFunc(found, func(_ subnet, link string) bool { return s.promotes(link) })
	return found
}

// promotesSecondaries reports whether the kernel makes a secondary address of a link primary when that one goes.
func promotesSecondaries(link string) bool {
	for _, name := range []string{"all", link} {
		text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + name + "/promote_secondaries")
		if err == nil && strings.TrimSpace(string(text)) == "1" {
			return true
		}
	}
	return false
}
