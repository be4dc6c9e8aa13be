package agent

import (
	"maps"
	"slices"

	"daymark/internal/election"
)

// SetMembers says which nodes' agents for Services live and which are gone. What the gone ones wrote of what they hold, this node takes
// back if it is the first of the living by name, as each of them knows. It returns at once.
func (s *Services) SetMembers(c election.Census) { s.inbox.census(c) }

// noteHosts adds to names the Services that are said to be held by a node of which this one knows that it does not, or may not.
func (s *Services) noteHosts(n news, names map[Name]struct{}) {
	if n.facts && s.cfg.Labels != nil {
		s.cfg.Labels.Observe(s.objects.own())
	}
	if !n.hosts {
		return
	}
	if n.census != nil {
		s.noteGone(*n.census)
	}
	for _, name := range s.objects.names() {
		if svc := s.objects.service(name); svc != nil {
			if host := vipHost(svc); host == s.cfg.Node || s.isGone(host) {
				names[name] = struct{}{}
			}
		}
	}
}

// noteGone takes in who is gone, if it is this node that tidies up.
func (s *Services) noteGone(c election.Census) {
	s.gone, s.live = make(map[string]bool, len(c.Gone)), nil
	if !slices.ContainsFunc(c.Live, func(node string) bool { return node < s.cfg.Node }) {
		for _, node := range c.Gone {
			s.gone[node] = true
		}
		s.live = append(slices.Clone(c.Live), s.cfg.Node)
	}
	if s.cfg.Labels == nil {
		return
	}
	// A Lease may outlive its Node by years.
	s.cfg.Labels.SetGone(slices.DeleteFunc(slices.Sorted(maps.Keys(s.gone)), func(node string) bool { return !s.objects.registered(node) }))
}

// isGone reports whether the agent of a node is gone, and it is for this one to tidy up after it. Its Lease may have gone with its Node
// before it was certain that its rights were over.
func (s *Services) isGone(node string) bool {
	return s.gone[node] || node != "" && s.live != nil && !slices.Contains(s.live, node) && !s.objects.registered(node)
}
