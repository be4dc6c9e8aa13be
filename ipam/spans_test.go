package ipam_test

import (
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"daymark/ipam"
)

// addressSet drives a set of intervals the way an allocator does: addresses come and go, and neighbours make one interval.
type addressSet struct {
	spans ipam.Spans
	want  [][2]uint64 // the same, in a slice
}

func (s *addressSet) index(x uint64) int {
	return sort.Search(len(s.want), func(i int) bool { return s.want[i][0] > x }) - 1
}

func (s *addressSet) has(x uint64) bool {
	i := s.index(x)
	return i >= 0 && s.want[i][1] >= x
}

func (s *addressSet) add(x uint64) {
	i := s.index(x)
	left := i >= 0 && s.want[i][1]+1 == x
	right := i+1 < len(s.want) && s.want[i+1][0] == x+1
	switch {
	case left && right:
		s.spans.Delete(s.want[i+1][0])
		s.spans.Replace(s.want[i][0], s.want[i][0], s.want[i+1][1])
		s.want[i][1] = s.want[i+1][1]
		s.want = slices.Delete(s.want, i+1, i+2)
	case left:
		s.spans.Replace(s.want[i][0], s.want[i][0], x)
		s.want[i][1] = x
	case right:
		s.spans.Replace(x+1, x, s.want[i+1][1])
		s.want[i+1][0] = x
	default:
		s.spans.Put(x, x)
		s.want = slices.Insert(s.want, i+1, [2]uint64{x, x})
	}
}

func (s *addressSet) remove(x uint64) {
	i := s.index(x)
	at := s.want[i]
	switch {
	case at[0] == x && at[1] == x:
		s.spans.Delete(x)
		s.want = slices.Delete(s.want, i, i+1)
	case at[0] == x:
		s.spans.Replace(x, x+1, at[1])
		s.want[i][0] = x + 1
	case at[1] == x:
		s.spans.Replace(at[0], at[0], x-1)
		s.want[i][1] = x - 1
	default:
		s.spans.Replace(at[0], at[0], x-1)
		s.spans.Put(x+1, at[1])
		s.want[i][1] = x - 1
		s.want = slices.Insert(s.want, i+1, [2]uint64{x + 1, at[1]})
	}
}

func (s *addressSet) toggle(x uint64) {
	if s.has(x) {
		s.remove(x)
	} else {
		s.add(x)
	}
}

func (s *addressSet) check(t *testing.T, x uint64) {
	t.Helper()
	i := s.index(x)
	if got, ok := s.spans.Floor(x); ok != (i >= 0) || ok && got != s.want[i] {
		t.Fatalf("floor of %d: %v, %v, want number %d of %v", x, got, ok, i, s.want)
	}
	if got, ok := s.spans.Above(x); ok != (i+1 < len(s.want)) || ok && got != s.want[i+1] {
		t.Fatalf("above %d: %v, %v, want number %d of %v", x, got, ok, i+1, s.want)
	}
	first, ok := s.spans.First()
	last, _ := s.spans.Last()
	if ok != (len(s.want) > 0) || ok && (first != s.want[0] || last != s.want[len(s.want)-1]) {
		t.Fatalf("first and last are %v and %v of %v", first, last, s.want)
	}
}

func TestSpans(t *testing.T) {
	for _, width := range []uint64{10, 500, 5_000, 100_000} {
		random := rand.New(rand.NewPCG(width, 0))
		var s addressSet
		for step := range 60_000 {
			x := random.Uint64N(width) + 1
			switch step / 20_000 {
			case 0: // grow
				if !s.has(x) {
					s.add(x)
				}
			case 1: // churn
				s.toggle(x)
			case 2: // shrink, from one end half of the time
				if first, ok := s.spans.First(); ok && step%2 == 0 {
					x = first[0]
				}
				if s.has(x) {
					s.remove(x)
				}
			}
			s.check(t, random.Uint64N(width+2))
			s.check(t, x)
		}
		if got := s.spans.All(); !slices.Equal(got, s.want) {
			t.Fatalf("got %v, want %v", got, s.want)
		}
	}
}

// TestSpansThatPassABound lets each span in turn swallow the next one and then begin beyond where that began, which is past the bounds that
// nodes have for their neighbours; then nodes are joined.
func TestSpansThatPassABound(t *testing.T) {
	const n = 20_000
	for first := range uint64(2) {
		var s addressSet
		for i := range uint64(n) {
			s.spans.Put(10*i+10, 10*i+10)
		}
		for i := first; i+1 < n; i += 2 {
			lo := 10*i + 10
			s.spans.Delete(lo + 10)
			s.spans.Replace(lo, lo, lo+18)
			s.spans.Replace(lo, lo+15, lo+18)
		}
		s.want = s.spans.All()
		if !slices.IsSortedFunc(s.want, func(a, b [2]uint64) int { return int(a[0]) - int(b[0]) }) {
			t.Fatal("out of order")
		}
		for _, i := range rand.New(rand.NewPCG(first, 3)).Perm(len(s.want))[:len(s.want)-50] {
			lo := 10 * uint64(i)
			if at := s.index(lo); at >= 0 {
				s.spans.Delete(s.want[at][0])
				s.want = slices.Delete(s.want, at, at+1)
			}
			for _, x := range []uint64{lo, lo + 500, 2 * lo} {
				s.check(t, x)
			}
		}
	}
}

func TestSpansStayFlat(t *testing.T) {
	var s addressSet
	random := rand.New(rand.NewPCG(1, 1))
	for x := range uint64(100_000) {
		s.spans.Put(2*x, 2*x)
	}
	if height, nodes := s.spans.Height(); height > 4 || nodes > 3_500 {
		t.Errorf("100,000 spans: height %d, %d nodes", height, nodes)
	}
	order := random.Perm(100_000)
	for _, x := range order[:99_000] {
		s.spans.Delete(2 * uint64(x))
	}
	if height, nodes := s.spans.Height(); height > 3 || nodes > 150 {
		t.Errorf("1,000 spans left: height %d, %d nodes", height, nodes)
	}
	for _, x := range order[99_000:] {
		s.spans.Delete(2 * uint64(x))
	}
	if _, ok := s.spans.First(); ok || len(s.spans.All()) > 0 {
		t.Error("something is left")
	}
}

func FuzzSpans(f *testing.F) {
	f.Add([]byte("spans"), uint16(300))
	f.Fuzz(func(t *testing.T, bytes []byte, width uint16) {
		var s addressSet
		random := rand.New(rand.NewPCG(uint64(width), 2))
		for _, b := range bytes {
			for range b { // many small steps to one byte, to get beyond one leaf
				s.toggle(random.Uint64N(uint64(width)+1) + 1)
			}
			s.check(t, uint64(b))
		}
	})
}
