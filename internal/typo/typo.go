// Package typo measures how far what was written is from what may have been meant. Whether that is near enough for a hint is for who asks.
package typo

// Distance is Levenshtein's: how many bytes must be put into a, taken out of it or changed to make it b.
func Distance(a, b string) int {
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
