package faults_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"daymark/test/controlplane"
	"daymark/test/netns"
)

// succession is what the LAN saw of who came after those who had addresses when a fault began: the worst of the addresses. Lengths of
// silences don't tell: the kernel of a holder that is dead or frozen answers on for some seconds.
type succession struct {
	addrs   int           // that were looked at
	taken   time.Duration // from the fault until another host's first word, as far as the bed was given the CPU
	kept    time.Duration // that it was kept from it meanwhile
	heir    string        // that word
	orphans string        // addresses for which no other host said one
	belated string        // what former holders said after it
}

// take takes in what was seen of an address since a fault began.
func (s *succession) take(p *pulse, began time.Time, former string, addr netip.Addr, seen netns.History) {
	s.addrs++
	after := seen.After(former)
	if len(after) == 0 {
		s.orphans += " " + addr.String()
		return
	}
	kept := p.kept(began, after[0].At)
	if taken := after[0].At.Sub(began) - kept; taken > s.taken {
		s.taken, s.kept, s.heir = taken, kept, after[0].String()
	}
	if late := after.By(former); len(late) > 0 {
		s.belated += fmt.Sprintf("%s\n%d frames later than that, from\n%s\n", after[0], len(late), late[0])
	}
}

// check fails the test where another had to have the addresses by some time, and hadn't, or where the former holder spoke although
// another had spoken and no two may. That goes by the order of single frames, so no machine is too slow for it.
func (s succession) check(t *testing.T, tb *table, most bounds) {
	t.Helper()
	if most.overlap == 0 && s.belated != "" {
		t.Errorf("who had it spoke after another had:\n%s", s.belated)
	}
	if most.taken == 0 {
		return
	}
	if !tb.strict {
		most.taken += slack // the tests beside it may keep the next holder from the CPU, and not this process
	}
	t.Logf("another host had it after %d ms, without %d ms in which there was no CPU, bound %d ms: %s",
		s.taken.Milliseconds(), s.kept.Milliseconds(), most.taken.Milliseconds(), s.heir)
	switch {
	case s.addrs == 0:
		t.Error("nobody had an address when the fault began")
	case s.orphans != "":
		t.Errorf("nobody took%s", s.orphans)
	case s.taken > most.taken:
		t.Errorf("another host had it after %v, want at most %v: %s", s.taken, most.taken, s.heir)
	case undecided(s.taken, s.kept, most.taken):
		tb.tell(t)("nothing is shown: another host had it after %v, %v of them without the CPU", s.taken+s.kept, s.kept)
	}
}

// undecided says that something broke its bound if the time counted in which the machine kept the bed from its CPU, and that this is
// so much that nobody can tell: more than half of the bound, and more than two seconds, which a planned hand-over may be kept.
func undecided(measured, kept, bound time.Duration) bool {
	return measured+kept > bound && kept > max(bound/2, 2*slack)
}

// goesOn asserts that every address is answered for when an API server has been back for as long as work may take to go on.
func (b *bed) goesOn(t *testing.T, returned time.Time) {
	t.Helper()
	for _, vip := range b.vips {
		answers := b.LAN.Observer().Answers(vip, returned)
		if len(answers) == 0 {
			t.Errorf("nobody answered for %s after the API server was back", vip)
			continue
		}
		took := answers[0].At.Sub(returned) - b.pulse.kept(returned, answers[0].At)
		if took > back {
			t.Errorf("%v passed from the API server's return to an answer for %s, want at most %v: %s", took, vip, back, answers[0])
		}
		t.Logf("%d ms passed from the API server's return to an answer for %s, bound %d ms", took.Milliseconds(), vip, back.Milliseconds())
	}
}

// letGo asserts that nobody had a word to say for an address between two moments: whose right is over answers no more.
func (b *bed) letGo(t *testing.T, from, to time.Time) {
	t.Helper()
	if !from.Before(to) {
		t.Errorf("no time is left between the end of every right and the return of the API server: %v", to.Sub(from))
	}
	for _, vip := range b.vips {
		if said := b.LAN.Observer().Answers(vip, from).Between(from, to); len(said) > 0 {
			t.Errorf("%s is held although every right to it is over: %d frames, from\n%s\nto\n%s", vip, len(said), said[0], said[len(said)-1])
		}
	}
}

// move is from whom to whom an address went.
type move struct{ from, to string }

// least asserts that what moved went from a node, or to it, and to nobody else: returned is how many went to it. By their hash none
// moves between the others. Weights keep shares within a tenth of even, so they may have corrected what these were off by: a sixth of all
// is more than that, and half of what a hash without memory would move.
func (m *many) least(t *testing.T, s seen, n *controlplane.Node) (returned int) {
	t.Helper()
	between := 0
	for move, count := range s.moves {
		switch n.Name() {
		case move.to:
			returned += count
		case move.from:
		default:
			between += count
		}
	}
	if most := len(m.addrs) / 6; between > most {
		t.Errorf("%d addresses moved between the others, want at most %d: %v", between, most, s.moves)
	}
	t.Logf("moved: %v", s.moves)
	return returned
}
