package l2

// What the tests of this package look at from outside.
var (
	Announcements = announcements
	ProbeFrame    = probe
)

// Parse returns what a frame says of an address, as [Heard] without link and time.
func Parse(frame []byte) (Heard, bool) {
	c, ok := parse(frame)
	h := Heard{Kind: c.kind, MAC: c.mac}
	h.Addr = c.addr
	return h, ok
}
