package election

import "slices"

// Census is the nodes of a group as this node sees them, without itself, sorted.
type Census struct {
	Live []string
	Gone []string // left or died, and have no right any more for certain
}

func (c Census) equal(o Census) bool {
	return slices.Equal(c.Live, o.Live) && slices.Equal(c.Gone, o.Gone)
}

func (m *Members) show(view, gone []member, stations map[string]string) {
	m.mu.Lock()
	m.view, m.stations = view, stations
	m.mu.Unlock()
	// What follows belongs to the loop.
	if c := (Census{Live: names(view), Gone: names(gone)}); m.cfg.Changed != nil && !c.equal(m.census) {
		m.census = c
		m.cfg.Changed(c)
	}
}
