package datapath

import "time"

// What the tests of this package look at from outside.
var Lifetime = lifetime

var parseTime = time.Unix(0, 0)

// ParseAll reads everything in b as the kernel's notifications are read.
func ParseAll(b []byte) {
	for len(b) > 0 {
		m, rest, err := nextMessage(b)
		if err != nil {
			return
		}
		_, _, _ = parseEvent(m, parseTime)
		_ = parseResult(m.payload, true)
		b = rest
	}
}
