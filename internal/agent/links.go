package agent

import (
	"maps"
	"slices"
	"time"

	"daymark/internal/vip"
)

// LinkSettles is how long a link that came back is no reason to take anything from another node: one that flaps takes nothing, and a
// switch may not forward at once what it hears on a port.
const LinkSettles = 5 * time.Second

// links is what is known of the links that addresses go to. It has no lock.
type links struct {
	giveUp   time.Duration        // after which nobody shall hold here what goes to a link in trouble; 0 is never
	troubles map[string]string    // by name of the link, "" for none; a link that is not in it is not there. nil while nothing is known
	began    time.Time            // when it was
	since    map[string]time.Time // when trouble began, or ended a while ago at most
	alarms   map[string]time.Time // when a link is to be looked at again
}

// set replaces what is known, and returns the links of which it says something else.
func (l *links) set(troubles map[string]string, now time.Time) (changed []string) {
	if l.troubles == nil {
		l.began, l.troubles = now, troubles
		for name := range troubles {
			changed = append(changed, name)
		}
		return changed
	}
	for name, at := range l.since { // what nobody asks about any more: links of pods come and go
		if is, there := troubles[name]; is == "" && now.Sub(at) > LinkSettles && (there || now.Sub(at) > l.giveUp) {
			delete(l.since, name)
		}
	}
	for name, is := range troubles {
		was, there := l.troubles[name]
		if there && was == is {
			continue
		}
		changed = append(changed, name)
		if (is == "") != (there && was == "") {
			l.since[name] = now
		}
	}
	for name := range l.troubles {
		if _, still := troubles[name]; !still {
			changed = append(changed, name)
			if l.troubles[name] == "" {
				l.since[name] = now
			}
		}
	}
	l.troubles = troubles
	return changed
}

// verdict is what a link means for what goes to it.
type verdict struct {
	trouble  string        // why the link can't carry traffic, for people; "" where it can
	yields   bool          // others should have it
	abstains bool          // nobody shall have it here
	long     bool          // it is worth telling users
	again    time.Duration // after how long the verdict may be another; 0 is when the link is
}

func (l *links) verdict(name string, now time.Time) (v verdict) {
	if l.troubles == nil {
		return v
	}
	text, there := l.troubles[name]
	if !there {
		text = "is not there"
	}
	since, known := l.since[name]
	if !known {
		since = l.began
	}
	lasts := now.Sub(since)
	next := func(d time.Duration) {
		if d > lasts && (v.again == 0 || d-lasts < v.again) {
			v.again = d - lasts
		}
	}
	if text == "" {
		if v.yields = known && lasts < LinkSettles; v.yields {
			next(LinkSettles)
		}
		return v
	}
	v.trouble, v.yields = "link "+name+" "+text, true
	v.long, v.abstains = lasts >= patience, l.giveUp > 0 && lasts >= l.giveUp
	next(patience)
	next(l.giveUp)
	return v
}

// cut reports whether one of addrs goes to a link that can't carry traffic.
func (l *links) cut(addrs []vip.Address) bool {
	for _, a := range addrs {
		if l.verdict(a.Link, time.Now()).trouble != "" {
			return true
		}
	}
	return false
}

// Links returns the links that addresses of Services go to on this node, sorted: that of the settings, and those that Services name. Those
// that are announced without a link go to none.
func (s *Services) Links() []string {
	if s.cfg.Detached {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Collect(maps.Keys(s.groups.on))
	if s.cfg.Policy.Link != autoLink {
		out = append(out, s.cfg.Policy.Link)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// judge takes in what the links of a group mean for it, and reports whether that is news.
func (s *Services) judge(g *Group) bool {
	if s.cfg.Detached {
		return false // its addresses go to no link
	}
	before, claim := g.links, g.Claim
	now := time.Now()
	g.links = verdict{}
	for _, a := range g.Addresses {
		v := s.links.verdict(a.Link, now)
		if g.links.trouble == "" {
			g.links.trouble = v.trouble
		}
		g.links.yields, g.links.abstains, g.links.long = g.links.yields || v.yields, g.links.abstains || v.abstains, g.links.long || v.long
		if at := now.Add(v.again); v.again > 0 && !s.links.alarms[a.Link].Equal(at) {
			s.links.alarms[a.Link] = at
			time.AfterFunc(v.again, func() { s.inbox.links([]string{a.Link}) })
		}
	}
	g.Claim.Yields, g.Claim.Abstains = g.links.yields && !g.Claim.Leased, g.links.abstains
	return before != g.links || claim.Yields != g.Claim.Yields || claim.Abstains != g.Claim.Abstains
}

// relink looks at what goes to links of which there is news, adds the Services to names, and reports whether this node stands for their
// claims otherwise than before.
func (s *Services) relink(names []string, services map[Name]struct{}) (changed bool) {
	for _, link := range names {
		moved, was := 0, ""
		for _, g := range s.groups.on[link] {
			if was = g.links.trouble; !s.judge(g) {
				continue
			}
			changed, moved = true, moved+1
			if g.links.trouble != "" && s.kept[g.Claim.Name] {
				delete(s.kept, g.Claim.Name)
				s.cfg.Logger.Info("preserved no longer", "lease", g.Claim.Name, "reason", g.links.trouble)
			}
			for _, name := range g.Services {
				services[name] = struct{}{}
			}
		}
		if v := s.links.verdict(link, time.Now()); moved > 0 {
			s.tellLink(link, v, was, moved)
		}
	}
	return changed
}

func (s *Services) tellLink(link string, v verdict, was string, claims int) {
	switch {
	case v.abstains:
		s.cfg.Logger.Warn("giving up", "reason", v.trouble, "link", link, "claims", claims, "after", s.links.giveUp)
	case v.trouble != "" && was == "":
		s.cfg.Logger.Warn("handing over", "reason", v.trouble, "link", link, "claims", claims)
	case v.trouble == "" && was != "":
		s.cfg.Logger.Info("link serves again", "link", link, "claims", claims)
	}
}

// leaseIdles reports whether the holder of the one lease should be another node: because of the link that Services' addresses go to, or
// because nothing that it is for can be served here.
func (s *Services) leaseIdles() bool {
	leased := 0
	for _, g := range s.groups.on[s.cfg.Policy.Link] {
		if g.Claim.Leased && s.cfg.Policy.Link != autoLink && g.links.yields {
			return true
		}
	}
	for _, g := range s.groups.claims {
		if !g.Claim.Leased {
			continue
		}
		if leased++; !g.links.yields {
			return false
		}
	}
	return leased > 0
}
