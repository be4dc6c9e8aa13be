package datapath

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"daymark/internal/vip"
)

// Why an address can't be in the kernel. Errors of Set wrap these.
var (
	// ErrForeign says that the address is there, but as somebody else's: the node's own, or another program's.
	ErrForeign = errors.New("the address is there and not ours")
	// ErrNoLink says that there is no such link. Run adds the address when the link appears.
	ErrNoLink = errors.New("no such link")
	// ErrLinkDown says that the link is down, where the kernel keeps no IPv6 address. Run adds it when the link comes up.
	ErrLinkDown = errors.New("link is down")
	// ErrExpired says that the right to hold the address has run out, or runs out sooner than the kernel can measure.
	ErrExpired = errors.New("the right to hold it runs out")
)

// op is one change of an address.
type op struct {
	key    vip.Key
	remove bool
	keeper bool // see planKeepers
	stays  bool // of a removal: the address stays with another prefix length
	entry
	until time.Time
}

func (o op) String() string {
	verb := "setting"
	if o.remove {
		verb = "removing"
	}
	return fmt.Sprintf("%s %s on %s", verb, o.prefix, o.key.Link)
}

// lifetime returns the valid_lft, in whole seconds, for a right that ends in left; 0 means that none is short enough.
//
// The kernel checks lifetimes at most once a second (ADDRCONF_TIMER_FUZZ_MAX, net/ipv4/devinet.c and net/ipv6/addrconf.c):
// when something else made it check just before, an address lives up to a second longer than its valid_lft. So a second is
// kept off where three remain after that, as with a lease of 5 s just renewed. A shorter right takes the risk, since an
// address that went before a slow renewal came would be the worse fault.
func lifetime(left time.Duration) uint32 {
	const late, least = 1050 * time.Millisecond, 3
	if sure := (left - late) / time.Second; sure >= least {
		return uint32(min(sure, time.Duration(forever-1)))
	}
	return uint32(min(max(left/time.Second, 0), least))
}

// plan returns what turns the kernel's addresses into those wanted, additions and updates before removals, each part in
// order; and for each wanted address that can't be had the reason. It changes nothing. The list is good until the next plan.
func (s *state) plan(now time.Time) (ops []op, refused map[vip.Key]error) {
	refused = map[vip.Key]error{}
	ops = s.ops[:0]
	for _, want := range s.order {
		n := len(ops)
		var err error
		if ops, err = s.planOne(ops, want, now); err != nil {
			refused[want.Key()] = fmt.Errorf("setting %s: %w", want, err)
			ops = ops[:n]
		}
	}
	ops, removals := s.planKeepers(ops, s.planRemovals(refused), refused, now)
	ops = append(ops, removals...)
	s.ops = ops
	return ops, refused
}

// planOne appends what makes want true to ops: nothing, one step, or two.
func (s *state) planOne(ops []op, want vip.Address, now time.Time) ([]op, error) {
	index, ok := s.byName[want.Link]
	if !ok {
		return ops, ErrNoLink
	}
	at := slot{index, want.Prefix.Addr()}
	add := op{key: want.Key(), entry: s.attributes(want, index), until: want.Until}
	if !want.Until.IsZero() {
		add.valid = lifetime(want.Until.Sub(now))
	}
	for _, e := range s.addrs[at] {
		same := e.prefix.Bits() == want.Prefix.Bits()
		switch {
		case s.ours(e) && (same || at.addr.Is6()):
			// The kernel can't change the prefix length of an IPv6 address in place, and with no prefix route it means nothing.
			add.prefix = e.prefix
			if s.right(e, want, now) {
				return ops, nil
			}
		case s.ours(e):
			// The same IPv4 address with another length is another address to the kernel: it goes when the right one is there.
		case !s.adoptable(e, want):
			return ops, fmt.Errorf("%w: %s", ErrForeign, e.prefix)
		case !same:
			adopt := add
			adopt.prefix = e.prefix
			ops = append(ops, adopt)
		}
	}
	if add.valid == 0 || s.written[at].spent(want, now) {
		return ops, ErrExpired
	}
	if at.addr.Is6() && !s.links[index].Up {
		return ops, ErrLinkDown
	}
	return append(ops, add), nil
}

// right reports whether e, which is ours, is as wanted and needs no write.
func (s *state) right(e entry, want vip.Address, now time.Time) bool {
	if want.Until.IsZero() {
		return e.permanent()
	}
	last, ok := s.written[slot{e.index, e.prefix.Addr()}]
	if e.permanent() || !ok || last.late() || !want.Live(now) {
		return false
	}
	// What was written before ends early enough for a longer right too, when less than a second of that is left.
	return last.until.Equal(want.Until) || last.until.Before(want.Until) && want.Until.Sub(now) < time.Second
}

// write is what the last write of an address said of its end.
type write struct {
	until time.Time // the Until it stands for
	ends  time.Time // when the kernel's lifetime ends at the latest; zero for never
}

// late reports whether the kernel was asked so late for a lifetime that it ends after the right, as by a process that was stopped
// between looking at the clock and asking.
func (w write) late() bool { return !w.ends.IsZero() && w.ends.After(w.until.Add(50*time.Millisecond)) }

// spent reports whether the kernel has ended the lifetime that stood for want's right: it isn't given a second one.
func (w write) spent(want vip.Address, now time.Time) bool {
	return !w.ends.IsZero() && w.until.Equal(want.Until) && !now.Before(w.ends.Add(-50*time.Millisecond))
}

// attributes are those of want in the kernel, save its lifetime.
func (s *state) attributes(want vip.Address, index int) entry {
	e := entry{index: index, prefix: want.Prefix, valid: forever, proto: Protocol, metric: s.metric, flags: unix.IFA_F_NOPREFIXROUTE}
	if want.Prefix.Addr().Is6() {
		// Without the kernel's DAD (RFC 4862, 5.4) in every mode. By NDP the LAN was asked before, or the address is taken over. By BGP or
		// a routing table, and for an elastic address, several nodes have it by design, in a hand-over at least: DAD on a link that they
		// share would find the other and disable the address for good. On the loopback there is none.
		e.flags |= unix.IFA_F_NODAD
	}
	if s.links[index].Loopback {
		e.scope = s.loopbackScope
	}
	return e
}

// planRemovals returns the removal of every address of ours that isn't wanted, or whose right has run out, or that has
// another length than wanted.
func (s *state) planRemovals(refused map[vip.Key]error) []op {
	var ops []op
	var link Link
	for at, entries := range s.addrs {
		if link.Index != at.index {
			link = s.links[at.index]
		}
		if link.Index != at.index {
			continue
		}
		key := vip.Key{Addr: at.addr, Link: link.Name}
		want, keep := s.want[key]
		keep = keep && !errors.Is(refused[key], ErrExpired)
		for _, e := range entries {
			switch {
			case !s.ours(e), e.unwanted && (!s.swept || !e.permanent()):
			case keep && (at.addr.Is6() || e.prefix.Bits() == want.Bits()):
			default:
				ops = append(ops, op{key: key, remove: true, stays: keep, entry: e})
			}
		}
	}
	slices.SortFunc(ops, func(a, b op) int { return compareKeys(a.key, b.key) })
	return ops
}
