package main

import "strings"

// nearest returns the hint for a name that nobody knows: the known name that is most like it.
func (l *loader) nearest(name string) string {
	best, distance := "", 1<<30
	for _, s := range l.settings {
		for _, known := range append(s.env[:len(s.env):len(s.env)], s.flag) {
			if known == "" {
				continue
			}
			if d := editDistance(strings.ToLower(name), strings.ToLower(known)); d < distance {
				best, distance = known, d
			}
		}
	}
	return "did you mean " + best + "?"
}

// editDistance is Levenshtein's: how many bytes must be put in, taken out or changed.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
