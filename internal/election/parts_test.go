package election_test

import (
	"slices"
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

// only fails the test when anybody has a right to what is not among claims, such as under an old name.
func (w *world) only(claims []election.Claim) {
	w.t.Helper()
	for name, node := range w.placed() {
		if !slices.ContainsFunc(claims, func(c election.Claim) bool { return c.Name == name }) {
			w.fail("%s still has %s", node, name)
		}
	}
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
			w.only(set)
			w.check()
		}
	})
	story(t, "a node that joins takes what is its own of what belongs together, too", func(w *world) {
		started(w, pairs, "a", "b")
		time.Sleep(10 * time.Second)
		c := memberProc(w, "c")
		c.elector.Set(pairs)
		c.start()
		time.Sleep(3 * time.Second)
		if gap := w.longestOf(one); gap > 0 || len(c.held()) == 0 || !w.allHeld(pairs) {
			w.fail("c has %d; nobody held for %v", len(c.held()), gap)
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
			w.only(set)
		}
	})
	story(t, "the node that has what comes together, and suits it best, keeps it", func(w *world) {
		ps := started(w, one, "a", "b", "c")
		time.Sleep(10 * time.Second)
		var its []election.Claim
		for _, c := range one {
			if w.placed()[c.Name] == "a" {
				its = append(its, c)
			}
		}
		pair := together(its[0], its[1])
		w.hook(func(p *proc, rights []election.Right) error {
			if p != ps[0] && slices.ContainsFunc(rights, func(r election.Right) bool { return r.Claim == pair.Name }) {
				t.Errorf("%s has %s", p.name, pair.Name)
			}
			return nil
		})
		for _, p := range ps {
			p.elector.Set([]election.Claim{pair})
			time.Sleep(150 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		w.hook(nil)
		if gap := w.longestOf(its[:2]); gap > 0 || !w.allHeld([]election.Claim{pair}) {
			w.fail("nobody held for %v", gap)
		}
	})
	story(t, "who has a part keeps it while another, who knows no better, keeps the rest from who would take both", func(w *world) {
		ps := started(w, nil, "x", "y", "z")
		x, y, z := ps[0], ps[1], ps[2]
		best := func(node string, over ...string) election.Claim {
			i := slices.IndexFunc(one, func(c election.Claim) bool {
				return !slices.ContainsFunc(over, func(o string) bool {
					return election.Score(o, c.Name, 1000) > election.Score(node, c.Name, 1000)
				})
			})
			return one[i]
		}
		p1, p2 := best("y", "x", "z"), best("z", "x", "y")
		both := together(p1, p2)
		x.elector.Set([]election.Claim{p1})
		time.Sleep(5 * time.Second)
		y.path.setDelay(func() time.Duration { return 40 * time.Millisecond })
		x.elector.Set([]election.Claim{both}) // and offers p1
		time.Sleep(150 * time.Millisecond)
		z.elector.Set([]election.Claim{p2})
		time.Sleep(5 * time.Millisecond)
		y.elector.Set([]election.Claim{both}) // lists it before it sees that z has a part
		time.Sleep(5 * time.Second)
		z.elector.Set([]election.Claim{both})
		w.await(3*time.Second, "both held", func() bool { return w.allHeld([]election.Claim{both}) })
		if gap := max(w.longest(p1.Name), w.longest(p2.Name)); gap > 0 {
			w.fail("nobody held for %v", gap)
		}
	})
	story(t, "what replaces something suits another node best, and both hand over whatever they can", func(w *world) {
		ps := started(w, one, "a", "b", "c")
		time.Sleep(10 * time.Second)
		for _, p := range ps {
			p.elector.Yield()
		}
		time.Sleep(3 * time.Second)
		its := slices.Clone(one)
		for i, c := range its {
			its[i].Parts, its[i].Place = []string{c.Name, c.Name + "+"}, "another place for "+c.Name
			its[i].Name = strings.Join(its[i].Parts, ",")
		}
		for _, p := range ps {
			p.elector.Set(its)
		}
		w.await(3*time.Second, "all held", func() bool { return w.allHeld(its) })
		if gap := w.longestOf(one); gap > 0 {
			w.fail("nobody held for %v", gap)
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
