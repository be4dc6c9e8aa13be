package agent

import (
	"sync"

	"daymark/internal/election"
)

// inbox collects news for one goroutine, so that much of it costs as much as one piece. Its methods never block and may be
// called from anywhere.
type inbox struct {
	wake chan struct{}
	mu   *sync.Mutex
	news *news
}

// news is what an inbox collected.
type news struct {
	names  map[Name]struct{} // Services whose objects or endpoints changed
	claims []string          // claims whose right changed
	paths  []string          // links of which there is news
	states []State           // addresses whose phase changed, oldest first
	facts  bool              // the surroundings may have changed
	all    bool              // everything is to be looked at
	hosts  bool              // who may be said to hold Services may have changed
	census *election.Census  // the newest, if there is a new one
}

func newInbox() inbox {
	return inbox{wake: make(chan struct{}, 1), mu: new(sync.Mutex), news: &news{names: make(map[Name]struct{})}}
}

func (b *inbox) add(note func(*news)) {
	b.mu.Lock()
	note(b.news)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) name(n Name)       { b.add(func(w *news) { w.names[n] = struct{}{} }) }
func (b *inbox) links(l []string)  { b.add(func(w *news) { w.paths = append(w.paths, l...) }) }
func (b *inbox) claims(c []string) { b.add(func(w *news) { w.claims = append(w.claims, c...) }) }
func (b *inbox) changed(states []State) {
	b.add(func(w *news) { w.states = append(w.states, states...) })
}
func (b *inbox) facts() { b.add(func(w *news) { w.facts = true }) }
func (b *inbox) all()   { b.add(func(w *news) { w.facts, w.all = true, true }) }

func (b *inbox) hosts() { b.add(func(w *news) { w.hosts = true }) }
func (b *inbox) census(c election.Census) {
	b.add(func(w *news) { w.hosts, w.census = true, &c })
}

// take returns what was collected and starts anew.
func (b *inbox) take() news {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := *b.news
	*b.news = news{names: make(map[Name]struct{})}
	return n
}
