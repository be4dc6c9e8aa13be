package election_test

import (
	"strings"
	"testing"
	"time"

	"daymark/internal/election"
)

// together returns one claim of all their parts, at the place of the first.
func together(claims ...election.Claim) election.Claim {
	out := election.Claim{Place: claims[0].Name}
	for _, c := range claims {
		out.Parts = append(out.Parts, strings.Split(c.Name, ",")...)
	}
	out.Name = strings.Join(out.Parts, ",")
	if first, _, several := strings.Cut(out.Place, ","); several {
		out.Place = first
	}
	return out
}

func TestParts(t *testing.T) {
	one := claims(30)
	var pairs []election.Claim
	for i := 0; i < len(one); i += 2 {
		pairs = append(pairs, together(one[i+1], one[i])) // at another place than the first was
	}
	story(t, "what belongs together changes, and nobody drops an address or takes one that another holds", func(w *world) {
		ps := members(w, "a", "b", "c")
		for _, p := range ps {
			p.elector.Set(one)
			p.start()
		}
		time.Sleep(10 * time.Second)
		for _, set := range [][]election.Claim{pairs, one, pairs} {
			for _, p := range ps { // not everybody knows of it at once
				p.elector.Set(set)
				time.Sleep(150 * time.Millisecond)
			}
			w.await(3*time.Second, "all held", func() bool { return w.allHeld(set) })
			time.Sleep(3 * time.Second)
			if gap := w.longestOf(one); gap > 0 || !w.allHeld(set) {
				w.fail("nobody held for %v", gap)
			}
			w.check()
		}
	})
	story(t, "a node alone keeps what it has", func(w *world) {
		p := memberProc(w, "a")
		p.elector.Set(one)
		p.start()
		time.Sleep(10 * time.Second)
		for _, set := range [][]election.Claim{pairs, one} {
			p.elector.Set(set)
			time.Sleep(3 * time.Second)
			if gap := w.longestOf(one); gap > 0 || !w.allHeld(set) {
				w.fail("nobody held for %v", gap)
			}
		}
	})
	story(t, "a holder that does not know yet keeps the others away", func(w *world) {
		ps := members(w, "a", "b", "c")
		for _, p := range ps {
			p.elector.Set(one)
			p.start()
		}
		time.Sleep(10 * time.Second)
		for _, p := range ps[1:] {
			p.elector.Set(pairs)
		}
		time.Sleep(10 * time.Second) // a's informers are stuck
		w.check()
		ps[0].elector.Set(pairs)
		w.await(3*time.Second, "all held", func() bool { return w.allHeld(pairs) })
		if gap := w.longestOf(one); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
	})
}
