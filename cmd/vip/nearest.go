package main

import (
	"strings"

	"daymark/internal/typo"
)

// nearest returns the hint for a name that nobody knows: the known name that is most like it.
func (l *loader) nearest(name string) string {
	best, distance := "", 1<<30
	for _, s := range l.settings {
		for _, known := range append(s.env[:len(s.env):len(s.env)], s.flag) {
			if known == "" {
				continue
			}
			if d := typo.Distance(strings.ToLower(name), strings.ToLower(known)); d < distance {
				best, distance = known, d
			}
		}
	}
	return "did you mean " + best + "?"
}
