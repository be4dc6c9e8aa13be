package netns

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Kind is what a frame says about an address.
type Kind int

const (
	// Reply is an ARP reply to somebody, or a solicited neighbour advertisement.
	Reply Kind = iota + 1
	// Announcement is a gratuitous ARP, request or reply form (RFC 5227 section 3), or
	// an unsolicited neighbour advertisement (RFC 4861 section 7.2.6).
	Announcement
	// Query is somebody's ARP request or neighbour solicitation sent from the address.
	Query
	// Detection is an ARP probe (RFC 5227 section 2.1) or a solicitation from the
	// unspecified address (RFC 4862 section 5.4): somebody means to take the address.
	Detection
)

func (k Kind) String() string {
	return [...]string{"none", "reply", "announcement", "query", "detection"}[k]
}

// Answer is one ARP or neighbour discovery frame about an address.
type Answer struct {
	At   time.Time // when the kernel took the frame from the host's cable
	Addr netip.Addr
	Kind Kind
	// Host is whose cable the frame came from. That and MAC, the hardware address
	// which the frame claims for Addr, may differ.
	Host string
	MAC  net.HardwareAddr
	// ARPReply says that it is an ARP reply rather than a request.
	ARPReply bool
	// Override is the flag of a neighbour advertisement.
	Override bool
	// To is the frame's destination.
	To net.HardwareAddr
}

func (a Answer) String() string {
	return fmt.Sprintf("%s %s %s by %s (%s)", a.At.Format("15:04:05.000000"), a.Addr, a.Kind, a.Host, a.MAC)
}

// claims says whether the frame makes others send to the host.
func (a Answer) claims() bool { return a.Kind == Reply || a.Kind == Announcement }

// History is what was seen of one address, in the order of time. Its methods are
// pure; those about answers look only at replies and announcements.
type History []Answer

// Answers are the replies and announcements.
func (h History) Answers() History { return h.only(Answer.claims) }

// Of keeps the frames of one kind.
func (h History) Of(kind Kind) History {
	return h.only(func(a Answer) bool { return a.Kind == kind })
}

// By keeps what came from one host.
func (h History) By(host string) History {
	return h.only(func(a Answer) bool { return a.Host == host })
}

// Between keeps what was seen from the first moment up to the second.
func (h History) Between(from, to time.Time) History {
	return h.only(func(a Answer) bool { return !a.At.Before(from) && a.At.Before(to) })
}

func (h History) only(keep func(Answer) bool) History {
	var out History
	for _, a := range h {
		if keep(a) {
			out = append(out, a)
		}
	}
	return out
}

// Hosts are the names of those who answered, sorted.
func (h History) Hosts() []string {
	var names []string
	for _, a := range h.Answers() {
		names = append(names, a.Host)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Turns are the answers that came from another host than the one before: who
// held the address, in order, and from when.
func (h History) Turns() History {
	var out History
	for _, a := range h.Answers() {
		if len(out) == 0 || out[len(out)-1].Host != a.Host {
			out = append(out, a)
		}
	}
	return out
}

// Last is the last answer before a moment; ok is false where there is none.
func (h History) Last(before time.Time) (a Answer, ok bool) {
	all := h.only(func(a Answer) bool { return a.claims() && a.At.Before(before) })
	if len(all) == 0 {
		return a, false
	}
	return all[len(all)-1], true
}

// After are the answers from the first on that another host than former gave.
func (h History) After(former string) History {
	answers := h.Answers()
	first := slices.IndexFunc(answers, func(a Answer) bool { return a.Host != former })
	if first < 0 {
		return nil
	}
	return answers[first:]
}

// Unfounded is a host's first announcement where it was made without the address:
// the two next answers to who asks all hosts, from the hardware address of asker,
// were others'. It comes with these two; it is nil where there is none.
func (h History) Unfounded(host string, asker net.HardwareAddr) History {
	first := slices.IndexFunc(h, func(a Answer) bool { return a.Kind == Announcement && a.Host == host })
	if first < 0 {
		return nil
	}
	next := h[first:].only(func(a Answer) bool { return a.Kind == Reply && bytes.Equal(a.To, asker) })
	if len(next) < 2 || next[0].Host == host || next[1].Host == host {
		return nil
	}
	return History{h[first], next[0], next[1]}
}

// LongestSilence is the longest time between two answers, and from the first
// moment to the first answer and from the last answer to the last moment. It means
// something only while the address is asked for: Observer.Silence knows when it was.
func (h History) LongestSilence(from, to time.Time) time.Duration {
	return longestGap(h.Answers().moments(), from, to, nil).long
}

func (h History) moments() []time.Time {
	out := make([]time.Time, len(h))
	for i, a := range h {
		out[i] = a.At
	}
	return out
}

// LongestOverlap is the longest time during which two hosts both answered: from the
// first word of one to the last of the other. So a single frame counts, too, while
// the other answers: as long as it is from the nearer of that one's ends. A host
// counts as answering between two of its answers when they are no further apart
// than tolerance: some multiple of the period of asking; and one that takes the
// address back, by an announcement after that of who answered meanwhile, begins anew.
func (h History) LongestOverlap(tolerance time.Duration) time.Duration {
	return h.longestOverlap(tolerance, nil, "")
}

// longestOverlap is LongestOverlap where nobody asked during the pauses: they make no answers further apart. With a host it is that of
// this one and another.
func (h History) longestOverlap(tolerance time.Duration, pauses []span, host string) time.Duration {
	spans := map[string][]span{}
	var announced, took string // who did last, and who answered then
	for _, a := range h.Answers() {
		of := spans[a.Host]
		back := a.Kind == Announcement && took != "" && took != a.Host
		switch {
		case a.Kind == Announcement:
			announced = a.Host
		case a.Host == announced:
			took = a.Host
		}
		if n := len(of); n > 0 && !back && a.At.Sub(of[n-1].to)-(span{of[n-1].to, a.At}).covered(pauses) <= tolerance {
			of[n-1].to = a.At
		} else {
			of = append(of, span{a.At, a.At})
		}
		spans[a.Host] = of
	}
	longest := time.Duration(0)
	for one, its := range spans {
		for other, theirs := range spans {
			if one >= other || host != "" && one != host && other != host {
				continue
			}
			for _, a := range its {
				for _, b := range theirs {
					if a.meets(b) {
						longest = max(longest, min(a.to.Sub(b.from), b.to.Sub(a.from)))
					}
				}
			}
		}
	}
	return longest
}

func (h History) String() string {
	lines := make([]string, len(h))
	for i, a := range h {
		lines[i] = a.String()
	}
	return strings.Join(lines, "\n")
}
